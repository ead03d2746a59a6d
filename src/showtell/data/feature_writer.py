"""Writes rows of features; a row is marked done only after it has reached the disk. Several processes may write."""

import contextlib
import errno
import fcntl
import itertools
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xxhash

from showtell.errors import DataError
from showtell.system.atomic import cannot_write

REGIONS, POOLED, BITMAP, SUMS = "regions.f16", "pooled.f16", "done.bitmap", "sums.u64"
CLAIMS, CLAIMED_ROWS = "claims.lock", 256
SUM_KIND = "xxh3_64"
SUM_TYPE = np.dtype("<u8")
SYNC_INTERVAL_S = 5.0


def sum_of(row: npt.NDArray[np.float16]) -> int:
    """Return the sum of one row of regions [R, D] or of pooled features [D]; that of no bytes is not 0 either."""
    return int(xxhash.xxh3_64_intdigest(row.data))


def forget_row(bitmap: Path, row: int) -> bool:
    """Mark a row as not extracted; return whether the file could be written."""
    try:
        with bitmap.open("rb+") as file, _locked(file.fileno()):
            file.seek(row // 8)
            byte = file.read(1)[0] & ~(0x80 >> row % 8)
            file.seek(row // 8)
            file.write(bytes([byte]))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    """Lock a file that several processes change; without a lock where the file system has none."""
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)


class Claims:
    """Which process extracts which rows: locks on bytes of a file, one for 256 rows, that end with their process."""

    def __init__(self, directory: Path) -> None:
        try:
            self._file = (directory / CLAIMS).open("wb")
        except OSError as error:
            raise cannot_write(directory / CLAIMS, error) from error

    def __enter__(self) -> "Claims":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()  # with its locks

    def take(self, block: int, *, wait: bool) -> bool:
        """Claim rows 256 x ``block`` and on; False if another process has, unless this one is to ``wait`` for it."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, block)
        except OSError as error:
            return error.errno not in (errno.EACCES, errno.EAGAIN)  # others: a file system without locks
        return True

    def release(self) -> None:
        """Give all rows back."""
        with contextlib.suppress(OSError):
            fcntl.lockf(self._file, fcntl.LOCK_UN)


class FeatureWriter:
    """Writes rows in a background thread; every few seconds it syncs them to disk and marks them done.

    Plain writes, not a memory map: a full disk then raises an error, where a map kills the process.
    """

    def __init__(self, directory: Path, manifest: dict[str, Any], done: npt.NDArray[np.bool_]):
        self._directory, self._done = directory, done
        width, regions = int(manifest["width"]), int(manifest["regions"])
        self._row_bytes = {REGIONS: 2 * regions * width, POOLED: 2 * width}
        self._data = (REGIONS, POOLED, SUMS) if "sums" in manifest else (REGIONS, POOLED)
        self._unmarked: list[npt.NDArray[np.int64]] = []
        self._marked_at = time.monotonic()

    def __enter__(self) -> "FeatureWriter":
        with contextlib.ExitStack() as stack:
            self._files = {
                name: stack.enter_context((self._directory / name).open("rb+", buffering=0))
                for name in (*self._data, BITMAP)
            }
            self._pool = stack.enter_context(ThreadPoolExecutor(max_workers=1, thread_name_prefix="write"))
            self._opened = stack.pop_all()
        self._last: Future[None] | None = None
        return self

    def put(self, rows: npt.NDArray[np.int64], regions: torch.Tensor, pooled: torch.Tensor) -> None:
        """Write the features of these rows, float [P, R, D] and [P, D], after waiting for the batch before."""
        self._wait()
        self._last = self._pool.submit(self._write, rows, regions, pooled)

    def __exit__(self, *error: object) -> None:
        with self._opened:
            try:
                self._wait()
            finally:
                self._last = self._pool.submit(self._mark)  # written rows count, whatever failed
                self._wait()

    def _wait(self) -> None:
        last, self._last = self._last, None
        try:
            if last is not None:
                last.result()
        except OSError as error:
            raise DataError(
                f"cannot write features to {self._directory}",
                found=error.strerror or str(error),
                mend="Free some space and run the same command again: it resumes",
            ) from error

    def _write(self, rows: npt.NDArray[np.int64], regions: torch.Tensor, pooled: torch.Tensor) -> None:
        # Consecutive rows are written at once.
        edges = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
        sums = np.zeros((len(rows), 2), SUM_TYPE)
        for column, (name, values) in enumerate(((REGIONS, regions), (POOLED, pooled))):
            halves = values.to("cpu", torch.float16).contiguous().numpy()
            sums[:, column] = [sum_of(row) for row in halves]
            size = self._row_bytes[name]
            for start, stop in itertools.pairwise(edges) if size else ():  # no regions in pooled-only caches
                _write_all(self._files[name].fileno(), halves[start:stop].data, int(rows[start]) * size)
        for start, stop in itertools.pairwise(edges) if SUMS in self._files else ():
            _write_all(self._files[SUMS].fileno(), sums[start:stop].data, int(rows[start]) * sums[0].nbytes)
        self._unmarked.append(rows)
        if time.monotonic() - self._marked_at >= SYNC_INTERVAL_S:
            self._mark()

    def _mark(self) -> None:
        if self._unmarked:
            for name in self._data:
                os.fsync(self._files[name].fileno())
            bitmap = self._files[BITMAP].fileno()
            with _locked(bitmap):  # those of other processes stay
                found = np.frombuffer(os.pread(bitmap, -(-len(self._done) // 8), 0), np.uint8)
                self._done[:] = np.unpackbits(found, count=len(self._done))
                self._done[np.concatenate(self._unmarked)] = True
                # In place: bits only change from 0 to 1, so a torn write leaves a valid bitmap.
                _write_all(bitmap, np.packbits(self._done).data, 0)
            os.fsync(bitmap)
            self._unmarked.clear()
        self._marked_at = time.monotonic()


def _write_all(descriptor: int, block: memoryview, offset: int) -> None:
    block = block.cast("B")
    while len(block):
        written = os.pwrite(descriptor, block, offset)
        block, offset = block[written:], offset + written
