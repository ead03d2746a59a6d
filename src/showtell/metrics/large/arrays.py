"""Arrays that grow on the disk in place of the memory, in temporary files without a name."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from showtell.metrics.ngrams import Captions
from showtell.system.atomic import cannot_write

_AT_ONCE = 1 << 17
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

    @classmethod
    def of_zeros(cls, dtype: npt.DTypeLike, length: int) -> DiskArray:
        """Return an array of a length, to be written to."""
        array = cls(dtype)
        os.ftruncate(array._file.fileno(), length * array.dtype.itemsize)
        array._length = length
        return array

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

    def blocks(self) -> Iterator[Array]:
        """Yield the values in parts that fit into memory."""
        for start in range(0, self._length, _AT_ONCE):
            yield self.read(start, min(start + _AT_ONCE, self._length))

    def mapped(self) -> Array:
        """Return all values as an array that stays on the disk; it may be written to, and outlives this object."""
        if not self._length:
            return np.empty(0, self.dtype)
        return np.memmap(self._file, self.dtype, "r+", shape=(self._length,))


class PartitionedColumns:
    """Rows of columns, shared out: what was added at any time to one part is read together.

    Each addition is written as a whole, part behind part, so that it is one place on the disk.

    Args:
        count: Parts.
        dtypes: Of the columns.
    """

    def __init__(self, count: int, *dtypes: npt.DTypeLike) -> None:
        self._columns = [DiskArray(dtype) for dtype in dtypes]
        # Of each part: start, stop, start, stop; only where it got rows
        self._bounds = [array("q") for _ in range(count)]
        self._additions = array("q", [0])

    def add(self, part: npt.NDArray[np.integer], *columns: Array) -> None:
        """Add rows.

        Args:
            part: Of each row. [rows]
            columns: A value for each row, in every column. [rows]

        Raises:
            DataError: the disk is full.
        """
        order = np.argsort(part, kind="stable")
        place = self._additions[-1]
        for number, rows in enumerate(np.bincount(part).tolist()):
            if rows:
                self._bounds[number].extend((place, place + rows))
                place += rows
        self._additions.append(place)
        for column, values in zip(self._columns, columns, strict=True):
            column.append(values[order])

    def read(self, part: int) -> list[Array]:
        """Return the columns of a part, in the order in which its rows were added."""
        bounds = self._bounds_of(part)
        return [
            np.concatenate([column.read(*pair) for pair in bounds] or [column.read(0, 0)])
            for column in self._columns
        ]

    def write(self, part: int, column: int, values: Array) -> None:
        """Put other values in a column of a part.

        Raises:
            DataError: the disk is full.
        """
        place = 0
        for start, stop in self._bounds_of(part):
            self._columns[column].write(start, values[place : place + stop - start])
            place += stop - start

    def added(self, addition: int, column: int, part: npt.NDArray[np.integer]) -> Array:
        """Return a column of what was added together, in the order in which it was given.

        Args:
            addition: Its number.
            column: Its number.
            part: As it was given.
        """
        values = self._columns[column].read(*self._additions[addition : addition + 2])
        given = np.empty_like(values)
        given[np.argsort(part, kind="stable")] = values
        return given

    def _bounds_of(self, part: int) -> list[tuple[int, int]]:
        bounds = self._bounds[part]
        return list(zip(bounds[::2], bounds[1::2], strict=True))


class DiskTokens:
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
