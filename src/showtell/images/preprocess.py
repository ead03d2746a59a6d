"""What an encoder sees of a picture: which part of it, how large, how it is scaled.

`showtell.images.load` opens pictures; this makes them squares of bytes. What is done here travels with an encoder's
weights and takes part in the identity of kept features.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from showtell.config.preprocessing import Preprocessing
from showtell.images.load import ImageSource, Limits, load_image

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


SPARE = 3
"""A JPEG keeps at least this many times the pixels a side that its encoder sees. At 3, sharp photographs differ by
less than 0.75 grey levels on average (a slow test); a camera's 12 megapixels come at a quarter.
"""


def load_and_preprocess(
    source: ImageSource, preprocessing: Preprocessing, *, limits: Limits | None = None
) -> npt.NDArray[np.uint8]:
    """Return a picture as an encoder sees it, uint8 [S, S, 3]: `preprocess_image` of `load_image`, sooner.

    Raises:
        PictureError: it cannot be read.
    """
    picture = load_image(source, limits=limits, at_least=min_decode_size(preprocessing))
    return preprocess_image(picture, preprocessing)


def min_decode_size(preprocessing: Preprocessing, *, share: float = 1.0) -> int:
    """Return how many pixels a side a picture needs.

    Args:
        preprocessing: What the encoder sees.
        share: Of the picture's side, where it sees a window alone.
    """
    seen = preprocessing.crop if preprocessing.resize == "crop" else 1.0
    if preprocessing.corner is not None:
        share *= preprocessing.corner.share
    return math.ceil(SPARE * preprocessing.size / (seen * share))


def preprocess_image(
    picture: npt.NDArray[np.uint8],
    preprocessing: Preprocessing,
    *,
    window: tuple[float, float, float, float] | None = None,
) -> npt.NDArray[np.uint8]:
    """Resize ``uint8 [H, W, 3]`` to ``uint8 [S, S, 3]``; one that is so already (squash) is returned.

    Numbers stay bytes: mean and standard deviation are applied by the encoder, on its device.

    Args:
        picture: What `load_image` returned.
        preprocessing: What the encoder wants to see.
        window: Left, top, right and bottom of what is shown, in pixels; None: `crop_box`.
    """
    size = preprocessing.size
    height, width = picture.shape[:2]
    whole = window is None and preprocessing.corner is None and preprocessing.resize == "squash"
    if not whole or (height, width) != (size, size):
        box = window or crop_box(height, width, preprocessing)
        image = Image.fromarray(picture)
        picture = np.array(image.resize((size, size), _FILTERS[preprocessing.interpolation], box=box))
    return np.ascontiguousarray(picture[:, ::-1]) if preprocessing.mirror else picture


def crop_box(height: int, width: int, preprocessing: Preprocessing) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of what the encoder sees, in pixels of the upright picture."""
    corner = preprocessing.corner
    if corner is not None:
        whole = preprocessing.model_copy(update={"corner": None})
        left, top, right, bottom = crop_box(height, width, whole)
        wide, tall = corner.share * (right - left), corner.share * (bottom - top)
        left, top = (right - wide if corner.right else left), (bottom - tall if corner.down else top)
        return left, top, left + wide, top + tall
    if preprocessing.resize == "squash":
        return 0.0, 0.0, float(width), float(height)
    # Resizing a window of the source gives the pixels of "resize all, then cut" (to rounding) without
    # ever holding all: a picture of 40,000 by 1 would grow to ten million by 256.
    size = preprocessing.size
    short = round(size / preprocessing.crop)
    scale = min(height, width) / short
    tall, wide = (max(short, round(side / scale)) for side in (height, width))
    top, left = (tall - size) // 2, (wide - size) // 2
    step_x, step_y = width / wide, height / tall
    return left * step_x, top * step_y, (left + size) * step_x, (top + size) * step_y


def random_crop_box(
    down: float, right: float, height: int, width: int, preprocessing: Preprocessing, *, share: float
) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of a window of a picture, in pixels, for views to train on.

    Args:
        down: Where it lies, 0 at the top, 1 at the bottom.
        right: The same from left to right.
        height: Of the upright picture, in pixels.
        width: The same.
        preprocessing: ``resize: crop`` asks for a square window, ``squash`` for one of the picture's shape.
        share: Its side as a share of the picture's short side (crop), or of both sides (squash).
    """
    sides = (height, width) if preprocessing.resize == "squash" else (min(height, width),) * 2
    tall, wide = share * sides[0], share * sides[1]
    left, top = right * (width - wide), down * (height - tall)
    return left, top, min(left + wide, width), min(top + tall, height)
