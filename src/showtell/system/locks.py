"""Locks on directories that several processes may write: the system releases them when their process ends."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from showtell.errors import DataError
from showtell.system.atomic import cannot_write
from showtell.system.console import note


@contextlib.contextmanager
def locked_directory(directory: Path, *, wait_for: str = "") -> Iterator[None]:
    """Hold a directory's lock inside the block, so that no other process enters it for the same directory.

    The directory need not exist, and may be replaced inside the block: the lock is on ``.NAME.lock`` beside it, which
    is removed at the end. Where the file system refuses locks, a note says so and the block runs without one.

    Args:
        directory: The directory to write.
        wait_for: What another process that holds the lock does there; empty: do not wait for it.

    Raises:
        DataError: another process holds the lock, or the parent directory cannot be made.
    """
    directory = directory.resolve()
    path = directory.parent / f".{directory.name}.lock"
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(directory, error) from error
    # Without flock(), a fallback would be a file that a killed process leaves behind.
    lock = FileLock(path, fallback_to_soft=False)
    try:
        try:
            lock.acquire(blocking=False)
        except Timeout as error:
            if not wait_for:
                raise DataError(
                    f"{directory} is in use by another process that writes it",
                    mend="Wait until that process has ended, or choose another directory",
                ) from error
            note(f"waiting for another process that {wait_for} {directory}")
            lock.acquire()
    except OSError as error:
        # What cannot be written needs no lock: a finished cache on a read-only disk.
        if os.access(directory, os.W_OK) or not directory.exists():
            note(
                f"cannot lock {directory} ({error.strerror or error}): make sure that no other process writes it"
            )
    try:
        yield
    finally:
        if lock.is_locked:
            path.unlink(missing_ok=True)
            lock.release()
