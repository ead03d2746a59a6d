"""Arrays that grow on the disk in place of the memory, in temporary files without a name."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from showtell.files import cannot_write
from showtell.scoring.ngrams import Captions

Array = npt.NDArray[Any]


class DiskArray:
    """One row of values, appended and read in parts. The file is gone with the object, or with the process.

    Args:
        dtype: Of its values; what is written is converted.
    """

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        self._length = 0
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - lives as long as the object

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def __len__(self) -> int:
        return self._length

    def append(self, values: Array) -> None:
        """Write values behind all others.

        Raises:
            DataError: the disk is full.
        """
        self.write(self._length, values)
        self._length += len(values)

    def write(self, start: int, values: Array) -> None:
        """Write values from a place on.

        Raises:
            DataError: the disk is full.
        """
        rest = np.ascontiguousarray(values, self.dtype).view(np.uint8).data
        place = start * self.dtype.itemsize
        try:
            while rest:
                done = os.pwrite(self._file.fileno(), rest, place)
                rest, place = rest[done:], place + done
        except OSError as error:
            raise cannot_write(Path(tempfile.gettempdir()), error) from error

    def read(self, start: int, stop: int) -> Array:
        """Return the values from ``start`` to before ``stop``."""
        values = np.empty(stop - start, self.dtype)
        rest, place = values.view(np.uint8).data, start * self.dtype.itemsize
        while rest:
            done = os.preadv(self._file.fileno(), [rest], place)
            rest, place = rest[done:], place + done
        return values

    def mapped(self) -> Array:
        """Return all values as an array that stays on the disk; it may be written to, and outlives this object."""
        if not self._length:
            return np.empty(0, self.dtype)
        return np.memmap(self._file, self.dtype, "r+", shape=(self._length,))


class CaptionsOnDisk:
    """Blocks of captions."""

    def __init__(self) -> None:
        self._words, self._lengths = DiskArray(np.int32), DiskArray(np.int32)
        self._bounds = [(0, 0)]

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def append(self, captions: Captions) -> None:
        """Keep one more block.

        Raises:
            DataError: the disk is full.
        """
        self._words.append(captions.words)
        self._lengths.append(captions.lengths)
        self._bounds.append((len(self._words), len(self._lengths)))

    def __iter__(self) -> Iterator[Captions]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, block: int) -> Captions:
        (word, caption), (words, captions) = self._bounds[block : block + 2]
        return Captions(
            self._words.read(word, words).astype(np.int64),
            self._lengths.read(caption, captions).astype(np.int64),
        )
