"""Extracts the features of a prepared set's images into a cache, in several processes where they are started.

Each process claims 256 rows at a time by a lock in the cache's ``claims.lock``.
"""

import contextlib
import hashlib
from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from showtell.config.preprocessing import Preprocessing
from showtell.data.changes import require_unchanged
from showtell.data.feature_cache import (
    FeatureCache,
    check_space,
    create_cache,
    dtype_name,
    open_manifest,
    read_bitmap,
)
from showtell.data.feature_writer import BITMAP, CLAIMED_ROWS, Claims, FeatureWriter
from showtell.data.prepared import PreparedSet
from showtell.encoders.encoder import Encoder
from showtell.encoders.features import Features
from showtell.errors import DataError, ImageError
from showtell.images.preprocess import load_and_preprocess
from showtell.system.atomic import cannot_write
from showtell.system.batch_pool import map_ahead
from showtell.system.console import note, progress_bar
from showtell.system.cpu import usable_cores
from showtell.system.device import make_batch_pool
from showtell.system.locks import locked_directory

SHOWN_ERRORS = 10
BATCHES_AHEAD = 2
LAYOUT_IMAGES = 24

Images = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]
_Batch = tuple[Rows, Images, list[str]]  # rows, their images, and errors of images that cannot be read


def extract_features(
    prepared: PreparedSet,
    encoder: Encoder,
    directory: Path,
    *,
    batch_size: int = 32,
    rows: Rows | None = None,
    regions: bool = True,
) -> FeatureCache:
    """Encode the images of a prepared set and cache the features; resume an interrupted extraction.

    Processes that extract into one directory share the work, and each returns once all its rows are done.

    ``rows``, int64, ascending, are to be encoded (None: all). Unless ``regions`` are needed, a new cache holds pooled
    vectors only. An image that cannot be read or has changed since it was prepared stops nothing: the others are
    encoded, then all such images are reported. Images that have features may be gone, but not changed.

    Raises:
        DataError: the cache is stale, the disk is full, images cannot be read, or one with features has changed.
    """
    if encoder.spec.trainable:
        raise DataError(
            "the features of a trainable encoder cannot be cached",
            mend="They change with every step: train without a cache",
        )
    wanted = np.arange(len(prepared), dtype=np.int64) if rows is None else rows
    with locked_directory(directory, wait_for="opens"):
        try:
            directory.mkdir(exist_ok=True)
        except OSError as error:
            raise cannot_write(directory, error) from error
        manifest = open_manifest(prepared, encoder, directory, regions=regions)
        num_regions = (encoder.regions if regions else 0) if manifest is None else int(manifest["regions"])
        done = np.zeros(len(prepared), np.bool_) if manifest is None else read_bitmap(directory, manifest)
        missing = wanted[~done[wanted]]
        require_unchanged(prepared, wanted[done[wanted]])
        if len(missing):
            check_space(directory, len(missing), len(prepared), num_regions, encoder.width)
        if manifest is None:
            verify_stride_layout(prepared, encoder, wanted)
            manifest = create_cache(prepared, encoder, directory, regions=num_regions)
    errors: list[str] = []
    if len(missing):
        if done.any() and manifest["dtype"] != dtype_name(encoder):
            note(f"{directory} was started in {manifest['dtype']} and continues in {dtype_name(encoder)}")
        errors = _fill(prepared, encoder, directory, manifest, missing, batch_size)
        done = read_bitmap(directory, manifest)
    if errors:
        more = f" and {len(errors) - SHOWN_ERRORS:,} more" if len(errors) > SHOWN_ERRORS else ""
        raise DataError(
            f"{len(errors):,} of {len(missing):,} images have no features, the others are done",
            found="; ".join(errors[:SHOWN_ERRORS]) + more,
            mend="Restore the images, or prepare the set again",
        )
    # Mapped after the writes: on overlayfs (containers) a mapping from before does not see them.
    return FeatureCache(directory, manifest, done)


def verify_stride_layout(prepared: PreparedSet, encoder: Encoder, rows: Rows) -> None:
    """Check the encoder's stride layout on some images; EncoderError: the weights are of the other one."""
    if not encoder.has_stride_variants or len(rows) == 0:
        return
    sample = rows[np.unique(np.linspace(0, len(rows) - 1, LAYOUT_IMAGES).astype(np.int64))]
    for good, images, _ in _decoded_batches(prepared, encoder.preprocessing, map(int, sample), len(sample)):
        if len(good) > 1:
            encoder.verify_stride_layout(torch.from_numpy(images))


def _fill(
    prepared: PreparedSet,
    encoder: Encoder,
    directory: Path,
    manifest: dict[str, Any],
    missing: Rows,
    batch_size: int,
) -> list[str]:
    """Extract the missing rows, with other processes that do; return the errors of images that cannot be read."""
    errors: list[str] = []
    blocks = dict(_blocks(missing))
    num_regions = int(manifest["regions"])

    def encode(batch: _Batch) -> tuple[Rows, Features | None, list[str]]:
        rows, images, unreadable = batch
        return rows, encoder(torch.from_numpy(images)) if len(rows) else None, unreadable

    def extract(rows: Iterator[int]) -> None:
        with (
            FeatureWriter(directory, manifest, read_bitmap(directory, manifest)) as writer,
            contextlib.closing(
                _decoded_batches(prepared, encoder.preprocessing, rows, batch_size)
            ) as batches,
            contextlib.closing(make_batch_pool(encoder.mean.device).map(encode, batches)) as encoded,
        ):
            for good, features, unreadable in encoded:
                if features is not None:
                    writer.put(good, features.regions[:, :num_regions], features.pooled)
                errors.extend(unreadable)
                advance(len(good) + len(unreadable), "")

    def take(block: int, *, wait: bool) -> Iterator[int]:
        """Claim a block unless another process has it, and yield those of its rows that are still missing."""
        if claims.take(block, wait=wait):
            rows, first = blocks.pop(block), CLAIMED_ROWS * block
            packed = np.fromfile(directory / BITMAP, np.uint8, CLAIMED_ROWS // 8, offset=first // 8)
            done = np.unpackbits(packed, count=CLAIMED_ROWS).astype(np.bool_)
            yield from map(int, rows[~done[rows - first]])

    with Claims(directory) as claims, progress_bar("features", len(missing), unit="images") as advance:
        extract(row for block in list(blocks) for row in take(block, wait=False))
        claims.release()
        if blocks:
            note(f"waiting for another process that fills {directory}")
        # Other processes had these; rows that one left missing, as it was killed, are extracted here.
        for block in list(blocks):
            rows = list(take(block, wait=True))
            if rows:
                extract(iter(rows))
            claims.release()
    return errors


def _blocks(rows: Rows) -> Iterator[tuple[int, Rows]]:
    """Yield the number of each block of 256 rows that has some of these, and those."""
    numbers, starts = np.unique(rows // CLAIMED_ROWS, return_index=True)
    return zip(map(int, numbers), np.split(rows, starts[1:]), strict=True)


def _decoded_batches(
    prepared: PreparedSet, preprocessing: Preprocessing, rows: Iterable[int], batch_size: int
) -> Generator[_Batch, None, None]:
    """Yield rows, images uint8 [P, S, S, 3] and errors, decoding in threads two batches ahead."""

    def load(row: int) -> tuple[int, Images | str]:
        return row, _load(prepared, row, preprocessing)

    ahead = BATCHES_AHEAD * batch_size
    with contextlib.closing(map_ahead(load, rows, workers=usable_cores(), ahead=ahead)) as loaded:
        while group := list(islice(loaded, batch_size)):
            good = {row: image for row, image in group if not isinstance(image, str)}
            images = np.stack(list(good.values())) if good else np.empty((0,), np.uint8)
            yield (
                np.array(list(good), np.int64),
                images,
                [error for _, error in group if isinstance(error, str)],
            )


def _load(prepared: PreparedSet, row: int, preprocessing: Preprocessing) -> Images | str:
    """Return a preprocessed image, or the error of one that cannot be read or is not the one that was prepared."""
    path = prepared.image_path(row)
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != prepared.sha256(row):
            return f"{path} has changed since the set was prepared"
        return load_and_preprocess(content, preprocessing)
    except OSError as error:
        found = error.strerror or str(error)
    except ImageError as error:
        found = str(error)
    return str(ImageError(f"cannot read {path}", found=found))
