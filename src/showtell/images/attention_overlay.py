"""Attention maps drawn over an image: one tile per word.

The grid of attention weights is upsampled over the part of the image that the encoder sees. Each map is scaled to
its own maximum, which keeps its colors in a warm tint while the rest turns gray. The label is the strongest region's
share of the whole attention, so that flat maps are recognizable.
"""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

TILE = 224
COLUMNS = 5
_MARGIN, _LABEL_HEIGHT, _FONT_SIZE = 12, 26, 16
_DIM, _TINT_WEIGHT, _TINT = 0.6, 0.35, (255, 150, 0)
_BACKGROUND, _TEXT, _MUTED = (255, 255, 255), (20, 20, 20), (110, 110, 110)


def upsample_attention(
    weights: npt.NDArray[np.float32],
    grid: tuple[int, int],
    window: tuple[float, float, float, float],
    size: tuple[int, int],
) -> npt.NDArray[np.float32]:
    """Return attention over an image of ``size`` H, W, float32 [H, W] in 0..1, maximum 1; 0 outside the view.

    The weights [R] are those of the regions of ``grid``, rows and columns, row by row. The window is left, top, right
    and bottom of the encoder's view, in pixels of an image of ``size``.
    """
    height, width = size
    left, top, right, bottom = window
    attention = np.zeros(size, np.float32)
    x0, y0 = (min(round(start), end - 1) for start, end in ((left, width), (top, height)))
    x1, y1 = max(x0 + 1, min(width, round(right))), max(y0 + 1, min(height, round(bottom)))
    cells = Image.fromarray(np.asarray(weights, np.float32).reshape(grid))
    attention[y0:y1, x0:x1] = np.asarray(cells.resize((x1 - x0, y1 - y0), Image.Resampling.BICUBIC)).clip(0)
    return attention / max(float(attention.max()), 1e-12)


def draw_attention(
    image: npt.NDArray[np.uint8],
    words: Sequence[str],
    attention: npt.NDArray[np.float32],
    *,
    grid: tuple[int, int],
    window: tuple[float, float, float, float],
    title: str = "",
) -> Image.Image:
    """Draw an upright image, uint8 [H, W, 3], and, for each of T words, its attention map, with a heading.

    The attention is float32 [T, R], for the regions of ``grid``, rows and columns, row by row. The window is the
    encoder's view of the image (`showtell.images.preprocess.crop_box`).
    """
    height, width = image.shape[:2]
    scale = TILE / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    small = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.LANCZOS)
    left, top, right, bottom = window
    small_window = (
        *(left * size[1] / width, top * size[0] / height),
        *(right * size[1] / width, bottom * size[0] / height),
    )
    colors = np.asarray(small, np.float32)
    gray = _DIM * colors.mean(axis=2, keepdims=True)
    tinted = colors + _TINT_WEIGHT * (np.array(_TINT) - colors)
    tiles = [("", "", small)]
    for word, weights in zip(words, attention, strict=True):
        alpha = upsample_attention(weights, grid, small_window, size)[:, :, None]
        tile = alpha * tinted + (1 - alpha) * gray
        tiles.append((word, f"{weights.max():.0%}", Image.fromarray(tile.round().astype(np.uint8))))
    return _sheet(tiles, size, title)


def _sheet(tiles: list[tuple[str, str, Image.Image]], size: tuple[int, int], title: str) -> Image.Image:
    """Arrange labeled tiles in rows below the title."""
    font: Any = ImageFont.load_default(_FONT_SIZE)
    cell_width, cell_height = max(size[1], TILE // 2) + _MARGIN, size[0] + _LABEL_HEIGHT + _MARGIN
    columns = min(COLUMNS, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    width = columns * cell_width + _MARGIN
    lines = textwrap.wrap(title, max(8, int((width - 2 * _MARGIN) / (_FONT_SIZE * 0.55))))
    line_height = _FONT_SIZE + 6
    header_height = _MARGIN + len(lines) * line_height
    sheet = Image.new("RGB", (width, header_height + rows * cell_height), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for index, line in enumerate(lines):
        draw.text((_MARGIN, _MARGIN + index * line_height), line, _TEXT, font)
    for index, (word, strongest, tile) in enumerate(tiles):
        x, y = _MARGIN + index % columns * cell_width, header_height + index // columns * cell_height
        sheet.paste(tile, (x, y))
        draw.text((x, y + size[0] + 3), word, _TEXT, font)
        draw.text((x + cell_width - _MARGIN, y + size[0] + 3), strongest, _MUTED, font, anchor="ra")
    return sheet
