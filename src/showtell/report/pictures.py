"""Pictures and attention, small enough to stand inside a page."""

from __future__ import annotations

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


def thumbnail(path: Path) -> str | None:
    """Return a picture as a JPEG data URI, at most 240 pixels a side; None where it cannot be read."""
    try:
        picture = Image.fromarray(load_image(path))
    except ImageError:
        return None
    picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    # Small pictures (drawn ones) hardly cost more at full colour resolution, and smear without it.
    is_small = max(picture.size) <= THUMBNAIL_PX // 2
    picture.save(buffer, "JPEG", quality=90 if is_small else QUALITY, subsampling=0 if is_small else 2)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def pack_attention(prediction: Prediction) -> dict[str, Any] | None:
    """Return attention as {rows, columns, maps}: one byte a region, base64, each word's largest weight 255."""
    if prediction.attention is None or prediction.grid is None:
        return None
    rows, columns = prediction.grid
    weights = np.asarray(prediction.attention, dtype=np.float64)[: len(prediction.words)]  # [T, R]
    if weights.ndim != 2 or weights.shape[1] != rows * columns or not len(weights):
        return None
    scaled = np.round(255 * weights / np.maximum(weights.max(axis=1, keepdims=True), 1e-12))
    maps = base64.b64encode(scaled.astype(np.uint8).tobytes()).decode()
    return {"rows": rows, "columns": columns, "maps": maps}
