"""How often attention points at the object that a word names, where the truth is known: drawn scenes.

The pointing game (Zhang et al. 2016, "Top-down Neural Attention by Excitation Backprop", section 4.1): a hit is a map
whose largest weight is within the object.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from showtell.data.scene_captions import Scene

BOARD = 3


class AttendedCaption(Protocol):
    """Words, and for each the weights of the regions of a grid over the whole image, row by row."""

    @property
    def words(self) -> Sequence[str]: ...
    @property
    def attention(self) -> Sequence[Sequence[float]] | None: ...
    @property
    def grid(self) -> tuple[int, int] | None: ...


@dataclass(frozen=True)
class PointingGame:
    """The objects that captions name rightly, and where the attention of their names is largest."""

    named: int
    hits: int  # in the cell of the object
    others: int  # in the cell of another object of the scene

    @property
    def sentence(self) -> str:
        """The result; by chance a map points at one of nine cells."""
        if not self.named:
            return "No object is named rightly, or the decoder has no attention."
        hits, others = (100 * number / self.named for number in (self.hits, self.others))
        return (
            f"Attention points at the named object for {hits:.1f} % of {self.named:,} objects, at another one for "
            f"{others:.1f} % ({100 / BOARD**2:.0f} % by chance)."
        )


def play_pointing_game(captions: Iterable[tuple[AttendedCaption, Scene]]) -> PointingGame:
    """Count the objects that captions of scenes name ("red ring") at which the mean of both words' maps points."""
    named = hits = others = 0
    for caption, scene in captions:
        if caption.attention is None or caption.grid is None:
            continue
        places = {item.name: (item.row, item.column) for item in scene.objects}
        for number in range(1, len(caption.words)):
            place = places.get(" ".join(caption.words[number - 1 : number + 1]))
            if place is None:
                continue
            cell = _largest(caption.attention[number - 1 : number + 1], caption.grid)
            named += 1
            hits += cell == place
            others += cell != place and cell in places.values()
    return PointingGame(named, hits, others)


def _largest(maps: Sequence[Sequence[float]], grid: tuple[int, int]) -> tuple[int, int]:
    """Return row and column of the board where the mean of maps is largest."""
    region = int(np.mean(maps, axis=0).argmax())
    row, column = divmod(region, grid[1])
    return int((row + 0.5) * BOARD / grid[0]), int((column + 0.5) * BOARD / grid[1])
