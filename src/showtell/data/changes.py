"""Images that were edited after the set was prepared: first size and modification time are compared, then bytes."""

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import numpy.typing as npt

from showtell.data.prepared import REMAKE, PreparedSet
from showtell.errors import DataError
from showtell.system.atomic import sha256_file, write_text
from showtell.system.batch_pool import map_ahead
from showtell.system.console import note, progress_bar
from showtell.system.cpu import usable_cores
from showtell.system.reading import MAX_TEXT_BYTES, read_json

ROWS_PER_TASK = 1_024
STAT_THREADS = 16
"""On a network disk each call waits for an answer."""
AHEAD, SHOWN = 256, 5
COMPARED = "compared.json"
"""Size and time of images that have the bytes they had, though not their time, by row: not to be read again."""

Rows = npt.NDArray[np.int64]
Status = tuple[int, int]
"""Size in bytes and modification time in ns."""


def require_unchanged(prepared: PreparedSet, rows: Rows) -> None:
    """Compare the images of some rows, int64 [N], with those that were prepared, and mark them as verified.

    An image of another size has changed; one of another modification time (copied, touched) has if its bytes have,
    which are read once: the set keeps the result. A missing image is no error here, for cached features do not need
    it, and is not verified.

    Raises:
        DataError: images have changed; names the first ones.
    """
    rows = rows[~prepared.verified[rows]]
    parts = np.array_split(rows, -(-len(rows) // ROWS_PER_TASK) or 1)
    with ThreadPoolExecutor(STAT_THREADS, thread_name_prefix="stat") as pool:
        touched = {
            row: status
            for found in pool.map(lambda part: _touched(prepared, part), parts)
            for row, status in found.items()
        }
    changed = _changed(prepared, touched) if touched else []
    if changed:
        names = ", ".join(prepared.key(row) for row in changed[:SHOWN])
        raise DataError(
            f"{_images(len(changed))} changed since {prepared.directory} was prepared",
            found=names + (f" and {len(changed) - SHOWN:,} more" if len(changed) > SHOWN else ""),
            mend=REMAKE,
        )


def _touched(prepared: PreparedSet, rows: Rows) -> dict[int, Status]:
    """Return rows whose image file has another size or modification time, and which these are; verify the others."""
    touched = {}
    for row in rows.tolist():
        with contextlib.suppress(OSError):
            found = prepared.image_path(row).stat()
            status = found.st_size, found.st_mtime_ns
            if status == prepared.file_status(row):
                prepared.verified[row] = True
            else:
                touched[row] = status
    return touched


def _changed(prepared: PreparedSet, touched: dict[int, Status]) -> list[int]:
    """Return the rows whose image file has other bytes; verify the others."""
    compared_before = _read_compared(prepared)
    rows = [row for row, status in touched.items() if compared_before.get(row) != status]
    same = touched.keys() - set(rows)
    changed = _compare(prepared, rows) if rows else {}
    same |= {row for row, has_changed in changed.items() if has_changed is False}
    prepared.verified[sorted(same)] = True
    if rows:
        kept = compared_before | {row: touched[row] for row in same}
        with contextlib.suppress(
            DataError
        ):  # a set that may only be read: bytes are compared again next time
            write_text(prepared.directory / COMPARED, json.dumps(kept))
    return [row for row, has_changed in changed.items() if has_changed]


def _read_compared(prepared: PreparedSet) -> dict[int, Status]:
    try:
        content = read_json(prepared.directory / COMPARED, MAX_TEXT_BYTES)
        return {int(row): (size, time) for row, (size, time) in content.items()}
    except (OSError, ValueError, AttributeError, TypeError):  # none, or damaged: bytes are compared
        return {}


def _compare(prepared: PreparedSet, rows: list[int]) -> dict[int, bool | None]:
    """Return for each row whether its image file has other bytes; None: it cannot be read."""
    note(f"{_images(len(rows))} another size or time than when the set was prepared; comparing bytes")
    with (
        progress_bar("comparing images", len(rows), unit="images") as advance,
        contextlib.closing(
            map_ahead(partial(_has_changed, prepared), rows, workers=usable_cores(), ahead=AHEAD)
        ) as compared,
    ):
        changed = {}
        for row, has_changed in zip(rows, compared, strict=True):
            changed[row] = has_changed
            advance(1, "")
    return changed


def _has_changed(prepared: PreparedSet, row: int) -> bool | None:
    path = prepared.image_path(row)
    try:
        if path.stat().st_size != prepared.file_status(row)[0]:
            return True
        return sha256_file(path) != prepared.sha256(row)
    except OSError:  # removed or unreadable: reported where it is decoded
        return None


def _images(count: int) -> str:
    return f"{count:,} images have" if count > 1 else "1 image has"
