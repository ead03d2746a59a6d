"""Resize and crop images for an encoder: from pixels of any size to uint8 squares."""

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from showtell.config.preprocessing import Preprocessing
from showtell.images.load import ImageSource, load_image
from showtell.images.refusals import Limits

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

OVERSAMPLING = 3
"""A JPEG is decoded at no less than this many times the encoder's pixels per side. At 3, sharp photographs differ by
less than 0.75 gray levels on average (a slow test), and a 12-megapixel photograph is decoded at a quarter.
"""


def load_and_preprocess(
    source: ImageSource, preprocessing: Preprocessing, *, limits: Limits | None = None
) -> npt.NDArray[np.uint8]:
    """Return an encoder's input uint8 [S, S, 3]: `preprocess_image` of `load_image`, decoded no larger than needed.

    Raises:
        ImageError: the image cannot be read.
    """
    image = load_image(source, limits=limits, at_least=min_decode_size(preprocessing))
    return preprocess_image(image, preprocessing)


def min_decode_size(preprocessing: Preprocessing, *, fraction: float = 1.0) -> int:
    """Return how many pixels the shorter side of an image needs if the encoder gets this fraction of each side."""
    visible = preprocessing.crop if preprocessing.resize == "crop" else 1.0
    if preprocessing.corner is not None:
        fraction *= preprocessing.corner.fraction
    return math.ceil(OVERSAMPLING * preprocessing.size / (visible * fraction))


def preprocess_image(
    image: npt.NDArray[np.uint8],
    preprocessing: Preprocessing,
    *,
    window: tuple[float, float, float, float] | None = None,
) -> npt.NDArray[np.uint8]:
    """Resize ``uint8 [H, W, 3]`` to ``uint8 [S, S, 3]``; an image that has this size already (squash) is returned.

    The result stays uint8: the encoder applies mean and standard deviation on its device. The window is left, top,
    right and bottom of the crop, in pixels; None: `crop_box`.
    """
    size = preprocessing.size
    height, width = image.shape[:2]
    whole = window is None and preprocessing.corner is None and preprocessing.resize == "squash"
    if not whole or (height, width) != (size, size):
        box = window or crop_box(height, width, preprocessing)
        resampling = _FILTERS[preprocessing.interpolation]
        image = np.array(Image.fromarray(image).resize((size, size), resampling, box=box))
    return np.ascontiguousarray(image[:, ::-1]) if preprocessing.mirror else image


def crop_box(height: int, width: int, preprocessing: Preprocessing) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of the encoder's view, in pixels of the upright image."""
    corner = preprocessing.corner
    if corner is not None:
        whole = preprocessing.model_copy(update={"corner": None})
        left, top, right, bottom = crop_box(height, width, whole)
        crop_width, crop_height = corner.fraction * (right - left), corner.fraction * (bottom - top)
        left = right - crop_width if corner.right else left
        top = bottom - crop_height if corner.down else top
        return left, top, left + crop_width, top + crop_height
    if preprocessing.resize == "squash":
        return 0.0, 0.0, float(width), float(height)
    # Resizing a window of the source gives the pixels of "resize, then crop" (to rounding) without ever
    # allocating the whole: an image of 40,000 by 1 would become ten million by 256.
    size = preprocessing.size
    short = round(size / preprocessing.crop)
    scale = min(height, width) / short
    resized_height, resized_width = (max(short, round(side / scale)) for side in (height, width))
    top, left = (resized_height - size) // 2, (resized_width - size) // 2
    step_x, step_y = width / resized_width, height / resized_height
    return left * step_x, top * step_y, (left + size) * step_x, (top + size) * step_y


def random_crop_box(
    down: float, right: float, height: int, width: int, preprocessing: Preprocessing, *, fraction: float
) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of a crop, in pixels of the upright image, for augmentation.

    ``resize: crop`` gives a square crop whose side is a fraction of the image's short side, ``squash`` one of the
    image's shape, a fraction of both sides. Its position is ``down`` and ``right``, 0 (top, left) to 1.
    """
    sides = (height, width) if preprocessing.resize == "squash" else (min(height, width),) * 2
    crop_height, crop_width = fraction * sides[0], fraction * sides[1]
    left, top = right * (width - crop_width), down * (height - crop_height)
    return left, top, min(left + crop_width, width), min(top + crop_height, height)
