"""The captions of a split as token ids in flat arrays: 170 bytes for an image with five captions of 12.5 words."""

from array import array
from collections.abc import Callable, Iterable
from itertools import pairwise

import numpy as np
import numpy.typing as npt


class TokenTable:
    """Token ids of captions, grouped by image; with a ``vocabulary`` up to 65,536, an id takes two bytes."""

    def __init__(
        self, groups: Iterable[Iterable[str]], encode: Callable[[str], list[int]], *, vocabulary: int
    ) -> None:
        ids = array("H" if vocabulary <= 2**16 else "i")
        caption_ends, group_ends = array("I", [0]), array("I", [0])
        for group in groups:
            for text in group:
                ids.extend(encode(text))
                caption_ends.append(len(ids))
            group_ends.append(len(caption_ends) - 1)
        self._ids: npt.NDArray[np.uint16 | np.int32] = np.frombuffer(ids, ids.typecode)
        self._caption_ends: npt.NDArray[np.uint32] = np.frombuffer(caption_ends, np.uint32)
        self._group_ends: npt.NDArray[np.uint32] = np.frombuffer(group_ends, np.uint32)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._group_ends) - 1

    def __getitem__(self, image: int) -> list[npt.NDArray[np.uint16 | np.int32]]:
        """Return the ids of each caption of an image."""
        first, last = self._group_ends[image : image + 2].tolist()
        ends = self._caption_ends[first : last + 1].tolist()
        return [self._ids[start:end] for start, end in pairwise(ends)]

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self._ids.nbytes + self._caption_ends.nbytes + self._group_ends.nbytes
