"""Attention over a image: in its coordinates, in its part that was seen, on one sheet."""

from __future__ import annotations

import numpy as np
import pytest

from showtell.config.preprocessing import Preprocessing
from showtell.images.attention_overlay import COLUMNS, TILE, draw_attention, upsample_attention
from showtell.images.preprocess import crop_box


def one_hot(place: int, regions: int) -> np.ndarray:
    weights = np.zeros(regions, np.float32)
    weights[place] = 1
    return weights


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 6), (3, 2), (6, 6)])
def test_the_brightest_place_lies_over_its_region(row: int, column: int) -> None:
    lit = upsample_attention(one_hot(row * 7 + column, 49), (7, 7), (0, 0, 140, 70), (70, 140))
    y, x = np.unravel_index(lit.argmax(), lit.shape)
    assert (int(y) // 10, int(x) // 20) == (row, column)
    assert lit.shape == (70, 140)
    assert lit.max() == pytest.approx(1)
    assert lit.min() >= 0


def test_what_the_encoder_did_not_see_is_dark() -> None:
    window = crop_box(100, 300, Preprocessing(size=224, resize="crop", crop=1.0))
    assert window == pytest.approx((100, 0, 200, 100), abs=1)
    lit = upsample_attention(np.full(4, 0.25, np.float32), (2, 2), window, (100, 300))
    assert lit[:, 105:195].min() == pytest.approx(1)
    assert lit[:, :95].max() == 0
    assert lit[:, 205:].max() == 0


def test_a_map_without_weight_is_dark_and_no_division_by_zero() -> None:
    assert upsample_attention(np.zeros(4, np.float32), (2, 2), (0, 0, 8, 8), (8, 8)).max() == 0


def test_a_sheet_has_a_tile_for_the_image_and_one_for_each_word() -> None:
    image = np.full((60, 60, 3), 200, np.uint8)
    attention = np.stack([one_hot(0, 4), one_hot(3, 4)])
    sheet = draw_attention(image, ["a", "dog"], attention, grid=(2, 2), window=(0, 0, 60, 60))
    pixels = np.asarray(sheet).astype(int)
    step = TILE + 12
    tiles = [pixels[12 : 12 + TILE, 12 + number * step : 12 + number * step + TILE] for number in range(3)]
    assert (tiles[0] == 200).all()
    warmth = [tile[..., 0] - tile[..., 2] for tile in tiles]
    assert (warmth[1][:50, :50] > 30).all()
    assert (warmth[1][-50:, -50:] < 5).all()
    assert (warmth[2][-50:, -50:] > 30).all()
    assert sheet.width == 12 + 3 * step


@pytest.mark.parametrize("size", [(1, 1), (1, 40_000), (5000, 3), (480, 640)])
@pytest.mark.parametrize("resize", ["squash", "crop"])
def test_images_of_any_shape_are_drawn(size: tuple[int, int], resize: str) -> None:
    image = np.zeros((*size, 3), np.uint8)
    window = crop_box(*size, Preprocessing(resize=resize))  # type: ignore[arg-type]
    words = ["wort"] * 12
    attention = np.full((12, 49), 1 / 49, np.float32)
    title = "ein langer Titel 日本 " * 20
    sheet = draw_attention(image, words, attention, grid=(7, 7), window=window, title=title)
    assert sheet.width <= COLUMNS * (TILE + 12) + 12


def test_a_caption_of_no_words_shows_the_image() -> None:
    image = np.zeros((10, 10, 3), np.uint8)
    empty = np.zeros((0, 4), np.float32)
    sheet = draw_attention(image, [], empty, grid=(2, 2), window=(0, 0, 10, 10))
    assert sheet.width == TILE + 24
