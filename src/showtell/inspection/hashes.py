"""Near-duplicate images by a perceptual hash: ImageHash's pHash, 256 signs of low frequencies (Zauner 2010)."""

import contextlib
import os
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

from showtell.data.prepared import PreparedSet
from showtell.errors import ImageError, import_extra
from showtell.images.load import load_image
from showtell.inspection.findings import Finding, rows_by_split
from showtell.inspection.similar import similar_pairs
from showtell.system.batch_pool import map_ahead
from showtell.system.console import progress_bar

SIDE = 16
BITS = SIDE * SIDE
MAX_DISTANCE = 64
"""Largest number of different bits of near-duplicates. Of Flickr8k's 24.5 million pairs the nearest, of different
photographs, differ by 74; JPEG at quality 20, a quarter of the size, gray, blur and a crop by 4 % change 44 bits at
most (99 % of 400 images), a crop by 8 % up to 64 in 85 %. With 64 bits in all, different photographs differ by 8."""
DECODED_PX, AHEAD = 64, 256

Signs = npt.NDArray[np.float32]


def find_near_duplicates(prepared: PreparedSet) -> Iterator[Finding]:
    """Yield images that are nearly the same as one before them, and those that cannot be read.

    Raises:
        MissingExtraError: ImageHash is not installed.
    """
    vectors = np.zeros((len(prepared), BITS), np.float32)
    for row, signs in enumerate(_hashes(prepared)):
        if isinstance(signs, str):
            yield Finding("unreadable-image", row, signs, 1.0)
        else:
            vectors[row] = signs
    least = 1.0 - 2.0 * MAX_DISTANCE / BITS
    for row, other, cosine, crosses in similar_pairs(vectors, rows_by_split(prepared), least):
        distance = round((1.0 - cosine) * BITS / 2)
        kind = "leaked-image" if crosses else "near-duplicate"
        reason = f"{distance} of {BITS} bits of the hash differ"
        yield Finding(kind, row, reason, 1.0 - distance / BITS, other=other)


def _hashes(prepared: PreparedSet) -> Iterator[Signs | str]:
    """Yield the hash of each image as signs of length 1 together, float32 [256], or why it cannot be read."""
    imagehash = import_extra("imagehash", extra="inspect", need="ImageHash")

    def read(row: int) -> Signs | str:
        try:
            image = Image.fromarray(load_image(prepared.image_path(row), at_least=DECODED_PX))
        except ImageError as error:
            return error.found
        bits = imagehash.phash(image, hash_size=SIDE).hash.ravel()
        return (np.where(bits, 1.0, -1.0) / SIDE).astype(np.float32)

    with (
        progress_bar("hashing images", len(prepared), unit="images") as advance,
        contextlib.closing(
            map_ahead(read, range(len(prepared)), workers=min(16, os.cpu_count() or 1), ahead=AHEAD)
        ) as found,
    ):
        for signs in found:
            yield signs
            advance(1, "")
