"""Large tables and arrays in files that are mapped: the kernel takes their pages back when it needs the memory.

The files are temporary (``TMPDIR``) and lose their names at once: nothing is left behind.
"""

from __future__ import annotations

import contextlib
import mmap
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from showtell.errors import DataError

ROWS_AT_ONCE = 2_048


def read_table_mmap(file: pq.ParquetFile) -> pa.Table:
    """Return the table of a Parquet file, unpacked bit by bit into a file that is mapped.

    Parquet's compressed columns cannot be mapped as they are.

    Raises:
        DataError: there is no room for it.
        pa.ArrowException: the file is broken.
    """
    # In this thread and in small parts: Arrow's allocator keeps for each thread the most that it ever held.
    parts = file.iter_batches(batch_size=ROWS_AT_ONCE, use_threads=False)
    with tempfile.NamedTemporaryFile(prefix="showtell-", suffix=".arrow") as unpacked:
        writer = pa.ipc.new_file(unpacked, file.schema_arrow)
        for rows in parts:
            with _room():
                writer.write_batch(rows)
            pa.default_memory_pool().release_unused()
        with _room():
            writer.close()
            unpacked.flush()
        # What is mapped stays when the name goes.
        with pa.memory_map(unpacked.name) as source:
            return pa.ipc.open_file(source).read_all()


class MmapArrayWriter:
    """Numbers that come one after another into a file, and are an array when all are there.

    Args:
        typecode: Of `array.array`.
    """

    def __init__(self, typecode: str) -> None:
        self._typecode, self._count = typecode, 0
        with _room():
            self._file = tempfile.TemporaryFile(prefix="showtell-")  # noqa: SIM115 - `finish` closes it

    def extend(self, numbers: Iterable[int]) -> int:
        """Add numbers; return how many there are now."""
        block = array(self._typecode, numbers)
        with _room():
            self._file.write(block)
        self._count += len(block)
        return self._count

    def finish(self) -> npt.NDArray[Any]:
        """Return all of them, read-only; nothing can be added then."""
        with self._file as file, _room():
            file.flush()
            if not self._count:
                return np.empty(0, self._typecode)
            return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), self._typecode)


@contextlib.contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot keep a temporary file in {tempfile.gettempdir()}",
            found=error.strerror or str(error),
            mend="Free some space there, or let TMPDIR name a folder on another disk",
        ) from error
