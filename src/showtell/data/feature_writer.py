"""Writes rows of features so that none is marked done before it has reached the disk."""

from __future__ import annotations

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

from showtell.errors import DataError

REGIONS, POOLED, BITMAP = "regions.f16", "pooled.f16", "done.bitmap"
SYNC_INTERVAL_S = 5.0


class FeatureWriter:
    """Writes rows in a thread of its own; every few seconds flushes them, then marks them done.

    Plain writes, not a memory map: on a full disk these raise, where a map kills the process.
    """

    def __init__(self, directory: Path, manifest: dict[str, Any], done: npt.NDArray[np.bool_]):
        self._directory, self._done = directory, done
        width, regions = int(manifest["width"]), int(manifest["regions"])
        self._row_bytes = {REGIONS: 2 * regions * width, POOLED: 2 * width}
        self._unmarked: list[npt.NDArray[np.int64]] = []
        self._marked_at = time.monotonic()

    def __enter__(self) -> FeatureWriter:
        self._files = {
            name: (self._directory / name).open("rb+", buffering=0) for name in (REGIONS, POOLED, BITMAP)
        }
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="write")
        self._last: Future[None] | None = None
        return self

    def put(self, rows: npt.NDArray[np.int64], regions: torch.Tensor, pooled: torch.Tensor) -> None:
        """Hand over features float [P, R, D] and [P, D] of these rows; waits for the batch before."""
        self._wait()
        self._last = self._pool.submit(self._write, rows, regions, pooled)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            try:
                self._wait()
            finally:
                self._pool.submit(self._mark).result()  # whatever went wrong, what is written counts
        except OSError as failure:
            raise self._full(failure) from failure
        finally:
            self._pool.shutdown(wait=True)
            for file in self._files.values():
                file.close()

    def _wait(self) -> None:
        if self._last is not None:
            last, self._last = self._last, None
            try:
                last.result()
            except OSError as failure:
                raise self._full(failure) from failure

    def _full(self, failure: OSError) -> DataError:
        return DataError(
            f"cannot write features to {self._directory}",
            found=failure.strerror or str(failure),
            mend="Free some space and run the same again: it goes on where it stopped",
        )

    def _write(self, rows: npt.NDArray[np.int64], regions: torch.Tensor, pooled: torch.Tensor) -> None:
        for name, values in ((REGIONS, regions), (POOLED, pooled)):
            halves = values.to("cpu", torch.float16).contiguous().numpy()
            size = self._row_bytes[name]
            for start, stop in _runs(rows) if size else ():  # nothing of regions where none are kept
                _write_all(self._files[name].fileno(), halves[start:stop].data, int(rows[start]) * size)
        self._unmarked.append(rows)
        if time.monotonic() - self._marked_at >= SYNC_INTERVAL_S:
            self._mark()

    def _mark(self) -> None:
        if self._unmarked:
            for name in (REGIONS, POOLED):
                os.fsync(self._files[name].fileno())
            self._done[np.concatenate(self._unmarked)] = True
            # In place: bits only ever go from 0 to 1, so a torn write leaves a true bitmap.
            _write_all(self._files[BITMAP].fileno(), np.packbits(self._done).data, 0)
            os.fsync(self._files[BITMAP].fileno())
            self._unmarked.clear()
        self._marked_at = time.monotonic()


def _runs(rows: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield start and stop of each stretch of consecutive rows."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    edges = [0, *breaks.tolist(), len(rows)]
    yield from itertools.pairwise(edges)


def _write_all(descriptor: int, block: memoryview, offset: int) -> None:
    block = block.cast("B")
    while len(block):
        written = os.pwrite(descriptor, block, offset)
        block, offset = block[written:], offset + written
