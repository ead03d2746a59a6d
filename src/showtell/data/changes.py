"""Images that were edited after the set was prepared: first size and modification time are compared, then bytes."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import numpy.typing as npt

from showtell.data.prepared import REMAKE, PreparedSet
from showtell.errors import DataError
from showtell.system.atomic import sha256_file
from showtell.system.batch_pool import map_ahead
from showtell.system.console import note, progress_bar
from showtell.system.cpu import usable_cores

ROWS_PER_TASK = 1_024
STAT_THREADS = 16
"""On a network disk each call waits for an answer."""
AHEAD, SHOWN = 256, 5

Rows = npt.NDArray[np.int64]


def require_unchanged(prepared: PreparedSet, rows: Rows) -> None:
    """Compare the images of some rows, int64 [N], with those that were prepared, each at most once per set.

    An image of another size has changed; one of another modification time (copied, touched) has if its bytes have.
    A missing image is no error here: cached features do not need it.

    Raises:
        DataError: images have changed; names the first ones.
    """
    rows = rows[~prepared.verified[rows]]
    parts = np.array_split(rows, -(-len(rows) // ROWS_PER_TASK) or 1)
    with ThreadPoolExecutor(STAT_THREADS, thread_name_prefix="stat") as pool:
        touched = [row for found in pool.map(lambda part: _touched(prepared, part), parts) for row in found]
    changed = _changed(prepared, touched) if touched else []
    if changed:
        names = ", ".join(prepared.key(row) for row in changed[:SHOWN])
        raise DataError(
            f"{_images(len(changed))} changed since {prepared.directory} was prepared",
            found=names + (f" and {len(changed) - SHOWN:,} more" if len(changed) > SHOWN else ""),
            mend=REMAKE,
        )
    prepared.verified[rows] = True


def _touched(prepared: PreparedSet, rows: Rows) -> list[int]:
    """Return the rows whose image file has another size or modification time."""
    touched = []
    for row in rows.tolist():
        with contextlib.suppress(OSError):
            status = prepared.image_path(row).stat()
            if (status.st_size, status.st_mtime_ns) != prepared.file_status(row):
                touched.append(row)
    return touched


def _changed(prepared: PreparedSet, rows: list[int]) -> list[int]:
    """Return the rows whose image file has other bytes."""
    note(f"{_images(len(rows))} another size or time than when the set was prepared; comparing bytes")
    with (
        progress_bar("comparing images", len(rows), unit="images") as advance,
        contextlib.closing(
            map_ahead(partial(_has_changed, prepared), rows, workers=usable_cores(), ahead=AHEAD)
        ) as compared,
    ):
        changed = []
        for row, has_changed in zip(rows, compared, strict=True):
            changed += [row] if has_changed else []
            advance(1, "")
    return changed


def _has_changed(prepared: PreparedSet, row: int) -> bool:
    path = prepared.image_path(row)
    try:
        if path.stat().st_size != prepared.file_status(row)[0]:
            return True
        return sha256_file(path) != prepared.sha256(row)
    except OSError:  # removed or unreadable: reported where it is decoded
        return False


def _images(count: int) -> str:
    return f"{count:,} images have" if count > 1 else "1 image has"
