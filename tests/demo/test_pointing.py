"""The pointing game counts maps that are largest where the named object is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from showtell.data.scene_captions import Scene, SceneObject
from showtell.demo.pointing import PointingGame, play_pointing_game

RING = SceneObject("ring", "red", "small", row=0, column=2)
STAR = SceneObject("star", "blue", "large", row=2, column=1)
SCENE = Scene("two", (RING, STAR))
WORDS = ["a", "red", "ring", "above", "a", "blue", "star", "and", "a", "green", "star"]


@dataclass
class Attended:
    words: list[str]
    attention: list[list[float]] | None
    grid: tuple[int, int] | None


def planted(cells: list[tuple[int, int]], grid: tuple[int, int]) -> list[list[float]]:
    """Return maps whose largest weight is in a cell of the board, in a patch that a map of that cell would cover."""
    maps = []
    for row, column in cells:
        weights = np.full(grid, 0.1)
        y, x = ((place + 0.5) * size / 3 for place, size in zip((row, column), grid, strict=True))
        weights[int(y), int(x)] = 1
        maps.append((weights / weights.sum()).ravel().tolist())
    return maps


@pytest.mark.parametrize("grid", [(3, 3), (6, 6), (7, 7), (12, 9)])
def test_a_patch_planted_at_the_object_is_a_hit_and_one_at_the_other_object_is_not(
    grid: tuple[int, int],
) -> None:
    ring, star, nowhere = (0, 2), (2, 1), (1, 0)
    elsewhere = [nowhere] * 2
    right = [nowhere, ring, ring, *elsewhere, star, star, *elsewhere, nowhere, nowhere]
    swapped = [nowhere, star, star, *elsewhere, ring, ring, *elsewhere, nowhere, nowhere]
    beside = [nowhere] * len(WORDS)
    for cells, expected in (
        (right, PointingGame(2, 2, 0)),
        (swapped, PointingGame(2, 0, 2)),
        (beside, PointingGame(2, 0, 0)),
    ):
        assert play_pointing_game([(Attended(WORDS, planted(cells, grid), grid), SCENE)]) == expected


def test_captions_without_attention_or_a_right_name_count_nothing() -> None:
    wrong = ["a", "green", "ring"]
    game = play_pointing_game(
        [
            (Attended(WORDS, None, None), SCENE),
            (Attended(wrong, planted([(0, 0)] * 3, (3, 3)), (3, 3)), SCENE),
        ]
    )
    assert game == PointingGame(0, 0, 0)
    assert game.sentence == "No object is named rightly, or the decoder has no attention."
    assert "75.0 % of 4 objects, at another one for 25.0 %" in PointingGame(4, 3, 1).sentence
