"""The captions of a split as token ids, flat: one array of ids and two of offsets, in files that are mapped.

Lists cost a header a caption, a reference and a number object an id: 118,287 pictures with five captions of 12.5 ids
take 330 MB so, and 20.5 MB here (measured), which the kernel takes back when it needs the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from showtell.system.mmap import MmapArrayWriter

LARGEST_SHORT = 2**16


class TokenTable:
    """Token ids of captions, grouped by picture.

    Args:
        groups: The captions of each picture, in order.
        encode: Turns a caption into ids.
        vocabulary: Number of tokens V; ids below 65,536 take two bytes each.
    """

    def __init__(
        self, groups: Iterable[Iterable[str]], encode: Callable[[str], list[int]], *, vocabulary: int
    ) -> None:
        short = vocabulary <= LARGEST_SHORT
        ids, ends, groups_end = (
            MmapArrayWriter("H" if short else "i"),
            MmapArrayWriter("q"),
            MmapArrayWriter("q"),
        )
        captions = ends.extend([0]) - 1
        groups_end.extend([0])
        for group in groups:
            for text in group:
                captions = ends.extend([ids.extend(encode(text))]) - 1
            groups_end.extend([captions])
        self._ids: npt.NDArray[np.uint16 | np.int32] = ids.finish()
        self._ends: npt.NDArray[np.int64] = ends.finish()
        self._groups: npt.NDArray[np.int64] = groups_end.finish()

    def __len__(self) -> int:
        """Return how many pictures there are."""
        return len(self._groups) - 1

    def __getitem__(self, place: int) -> list[npt.NDArray[np.uint16 | np.int32]]:
        """Return the ids of each caption of the picture at a place."""
        first, last = self._groups[place : place + 2].tolist()
        ends = self._ends[first : last + 1].tolist()
        return [self._ids[start:end] for start, end in pairwise(ends)]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._ids.nbytes + self._ends.nbytes + self._groups.nbytes
