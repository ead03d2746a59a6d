"""Images and attention, small enough to embed in a page."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from showtell.errors import ImageError
from showtell.images.load import load_image
from showtell.report.run import Prediction

THUMBNAIL_PX = 240
QUALITY = 72


def load_small(path: Path, side: int) -> Image.Image | None:
    """Return an image scaled down to at most ``side`` pixels a side; None if it cannot be read."""
    try:
        image = Image.fromarray(load_image(path, at_least=2 * side))
    except ImageError:
        return None
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def thumbnail(path: Path) -> str | None:
    """Return an image as a JPEG data URI, at most 240 pixels a side; None if it cannot be read."""
    image = load_small(path, THUMBNAIL_PX)
    if image is None:
        return None
    buffer = io.BytesIO()
    # Small (drawn) images hardly cost more at full color resolution, and smear without it.
    is_small = max(image.size) <= THUMBNAIL_PX // 2
    image.save(buffer, "JPEG", quality=90 if is_small else QUALITY, subsampling=0 if is_small else 2)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def pack_attention(prediction: Prediction) -> dict[str, Any] | None:
    """Return attention as {rows, columns, peaks, maps}.

    ``peaks`` are each word's largest weight in percent; ``maps`` is base64 of one byte a region, the largest 255.
    """
    if prediction.attention is None or prediction.grid is None:
        return None
    rows, columns = prediction.grid
    weights = np.asarray(prediction.attention, dtype=np.float64)[: len(prediction.words)]  # [T, R]
    if weights.ndim != 2 or weights.shape[1] != rows * columns or not len(weights):
        return None
    largest = weights.max(axis=1, keepdims=True)  # [T, 1]
    scaled = np.round(255 * weights / np.maximum(largest, 1e-12)).astype(np.uint8)
    return {
        "rows": rows,
        "columns": columns,
        "peaks": [round(100 * value) for value in largest[:, 0].tolist()],
        "maps": base64.b64encode(scaled.tobytes()).decode(),
    }
