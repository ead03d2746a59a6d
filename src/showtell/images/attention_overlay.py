"""Where the decoder looked for each word, drawn over the picture: one small picture per word.

A map of rows x columns is laid over the part of the picture that the encoder saw, in the picture's own coordinates,
and enlarged smoothly. Each map is scaled to its own strongest place, which keeps its colours in a warm light while
the rest goes grey; the label says how much of the whole attention the strongest region has, so that flat maps are
known for what they are.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

TILE = 224
COLUMNS = 5
_GAP, _LABEL, _TEXT = 12, 26, 16
_DIM, _WARMTH, _WARM = 0.6, 0.35, (255, 150, 0)
_BEHIND, _INK, _FAINT = (255, 255, 255), (20, 20, 20), (110, 110, 110)


def enlarge_map(
    weights: npt.NDArray[np.float32],
    grid: tuple[int, int],
    window: tuple[float, float, float, float],
    size: tuple[int, int],
) -> npt.NDArray[np.float32]:
    """Return attention over a picture, float32 [H, W] in 0..1, strongest place 1; 0 where the encoder saw nothing.

    Args:
        weights: Of each region, row by row [R].
        grid: Rows and columns, R = rows x columns.
        window: Left, top, right and bottom of what was seen, in the coordinates of a picture of ``size``.
        size: Height and width H, W.
    """
    height, width = size
    left, top, right, bottom = window
    places = np.asarray(weights, np.float32).reshape(grid)
    placed = np.zeros(size, np.float32)
    x0, y0 = (min(round(start), end - 1) for start, end in ((left, width), (top, height)))
    x1, y1 = max(x0 + 1, min(width, round(right))), max(y0 + 1, min(height, round(bottom)))
    smooth = Image.fromarray(places).resize((x1 - x0, y1 - y0), Image.Resampling.BICUBIC)
    placed[y0:y1, x0:x1] = np.asarray(smooth).clip(0)
    return placed / max(float(placed.max()), 1e-12)


def draw_attention(
    picture: npt.NDArray[np.uint8],
    words: Sequence[str],
    attention: npt.NDArray[np.float32],
    *,
    grid: tuple[int, int],
    window: tuple[float, float, float, float],
    title: str = "",
) -> Image.Image:
    """Draw a picture and, for each word, where the decoder looked.

    Args:
        picture: The upright picture, uint8 [H, W, 3].
        words: T words.
        attention: float32 [T, R], regions row by row.
        grid: Rows and columns of regions.
        window: What the encoder saw of the picture (`showtell.images.preprocess.crop_box`).
        title: Stands above all, wrapped.
    """
    height, width = picture.shape[:2]
    scale = TILE / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    small = Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.LANCZOS)
    seen = tuple(
        edge * side / whole
        for edge, side, whole in zip(window, (size[1], size[0]) * 2, (width, height) * 2, strict=True)
    )
    colours = np.asarray(small, np.float32)
    grey = _DIM * colours.mean(axis=2, keepdims=True)
    warm = colours + _WARMTH * (np.array(_WARM) - colours)
    tiles = [("", "", small)]
    for word, weights in zip(words, attention, strict=True):
        shares = enlarge_map(weights, grid, (seen[0], seen[1], seen[2], seen[3]), size)[:, :, None]
        lit = shares * warm + (1 - shares) * grey
        tiles.append((word, f"{weights.max():.0%}", Image.fromarray(lit.round().astype(np.uint8))))
    return _sheet(tiles, size, title)


def _sheet(tiles: list[tuple[str, str, Image.Image]], size: tuple[int, int], title: str) -> Image.Image:
    """Lay labelled tiles out in rows, the title above them."""
    font: Any = ImageFont.load_default(_TEXT)
    cell_width, cell_height = max(size[1], TILE // 2) + _GAP, size[0] + _LABEL + _GAP
    columns = min(COLUMNS, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    width = columns * cell_width + _GAP
    lines = textwrap.wrap(title, max(8, int((width - 2 * _GAP) / (_TEXT * 0.55))))
    above = _GAP + len(lines) * (_TEXT + 6)
    sheet = Image.new("RGB", (width, above + rows * cell_height), _BEHIND)
    pen = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        pen.text((_GAP, _GAP + number * (_TEXT + 6)), line, _INK, font)
    for number, (word, share, tile) in enumerate(tiles):
        x, y = _GAP + number % columns * cell_width, above + number // columns * cell_height
        sheet.paste(tile, (x, y))
        pen.text((x, y + size[0] + 3), word, _INK, font)
        pen.text((x + cell_width - _GAP, y + size[0] + 3), share, _FAINT, font, anchor="ra")
    return sheet
