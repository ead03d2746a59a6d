"""Atomic writes: a temporary name in the same directory, synced, then renamed; safe against a crash at any byte.

A directory of ours has a ``manifest.json`` with its ``kind``, format version, origin and options. Directories without
one are neither read nor overwritten.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from showtell.errors import DataError, ShowtellError
from showtell.system.reading import (
    MAX_JSON_BYTES,
    SUM,
    open_file,
    parse_summed_json,
    read_bytes,
    sha256_json,
)

MANIFEST = "manifest.json"
SWAP_SECONDS = 0.1
_NAME_PART = 60  # characters of up to four bytes
TEMPORARY = ".showtell.tmp"
_CLEARED: set[Path] = set()

_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "Free some space or choose another place"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "Choose a place with write permission"),
    **dict.fromkeys(
        (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG), "Check the path"
    ),
}


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file_mode() -> int:
    """The default mode of new files; temporary files are private."""
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same directory; rename it to ``path`` if the block succeeds.

    If not, or if the file cannot be written (DataError: full disk, no permission), an existing file is unchanged.
    """
    temporary: Path | None = None
    lock: int | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_once(path.parent)
        prefix = f".{path.name[-_NAME_PART:]}."  # the whole name might be too long with what is added
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=TEMPORARY, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        lock = lock_path(temporary)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(_file_mode())
        temporary.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)


def _clear_once(folder: Path) -> None:
    """Delete all leftovers in a folder, once in a process: a large one is slow to list."""
    if folder not in _CLEARED:
        _CLEARED.add(folder)
        _delete_leftovers(folder)


def _delete_leftovers(folder: Path) -> None:
    """Delete what killed processes left of writing files; those of running ones stay."""
    for leftover in folder.glob(f".*.????????{TEMPORARY}"):
        lock = lock_path(leftover)
        if lock is not None:
            leftover.unlink(missing_ok=True)
            os.close(lock)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_summed_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON object with the SHA-256 of its values, which `showtell.system.reading.read_json` compares."""
    write_json(path, with_sum(values))


def with_sum(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a JSON object, and their SHA-256."""
    # Keys and tuples as they will be read.
    values = json.loads(json.dumps({name: value for name, value in values.items() if name != SUM}))
    return {**values, SUM: sha256_json(values)}


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield an empty temporary directory; swap it in for ``path`` if the block succeeds.

    Replacing ``path`` takes two renames. A crash between them leaves the old directory intact as ``.NAME.old``, which
    `recover_directory` restores and `resolve_swapped` finds. The temporary directory is locked, so that no other
    process takes it for the leftover of a killed one.
    """
    path, old = with_file_name(path), _backup(path)
    temporary: Path | None = None
    lock: int | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        recover_directory(path)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
        lock = lock_path(temporary)
        temporary.chmod(0o755)
        yield temporary
        for item in temporary.rglob("*"):
            if item.is_file():
                item.chmod(_file_mode())
                with item.open("rb+") as file:
                    os.fsync(file.fileno())
        _sync_directory(temporary)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)
        temporary.rename(path)
        _sync_directory(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        if lock is not None:
            os.close(lock)
        _restore(path)


def recover_directory(path: Path) -> None:
    """Undo a swap that a crash interrupted, and delete what killed writers left beside ``path``.

    For writers only: a reader could undo a swap in progress, and calls `resolve_swapped` instead. Temporary
    directories of running writers stay.
    """
    path = with_file_name(path)
    _restore(path)
    # Of a writer that was killed after both renames.
    if path.exists():
        shutil.rmtree(_backup(path), ignore_errors=True)
        _delete_leftovers(path)
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        lock = lock_path(leftover)
        if lock is not None:
            shutil.rmtree(leftover, ignore_errors=True)
            os.close(lock)


def resolve_swapped(path: Path) -> Path:
    """Return where to read a directory of `atomic_directory`: ``path``, or ``.NAME.old`` if a crash left only that.

    Nothing on disk is changed.
    """
    old = _backup(path)
    if path.exists() or not old.exists():
        return path
    # A swap may be in progress, which takes a moment.
    time.sleep(SWAP_SECONDS)
    return path if path.exists() or not old.exists() else old


def _backup(path: Path) -> Path:
    """Where `atomic_directory` keeps the old directory while it swaps in the new one."""
    path = with_file_name(path)
    return path.with_name(f".{path.name}.old")


def _restore(path: Path) -> None:
    old = _backup(path)
    if not path.exists() and old.exists():
        old.rename(path)


def with_file_name(path: Path) -> Path:
    """Return an equivalent path that ends in a name, unlike ``.`` and ``..``, so that it has siblings."""
    return path.resolve() if path.name in {"", ".."} else path


def lock_path(path: Path) -> int | None:
    """Lock a file or directory until the returned descriptor is closed; None: another process holds it."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def check_replaceable(
    directory: Path, files: Collection[str], *, failed: str, error: type[ShowtellError], marker: str = ""
) -> None:
    """Raise ``error`` unless a directory is missing, empty, or has only ``files``, with ``marker`` among them."""
    names = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
    foreign = sorted(names - set(files)) or (sorted(names) if marker and marker not in names else [])
    if foreign or (directory.exists() and not directory.is_dir()):
        raise error(
            f"{failed} {directory}",
            found=f"other files ({foreign[0]})" if foreign else "a file",
            mend="Name an empty or new directory",
        )


def claim_directory(directory: Path, kind: str, version: int, content: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest of a directory of this kind, as `read_manifest`; a new or empty one gets ``content``."""
    if not directory.exists() or not any(directory.iterdir()):
        directory.mkdir(parents=True, exist_ok=True)
        write_manifest(directory, kind, version, content)
    return read_manifest(directory, kind, version)


def cannot_write(path: Path, error: OSError) -> DataError:
    """Return the error of a path that cannot be written."""
    advice = _ADVICE.get(error.errno or 0, "Choose another place")
    return DataError(
        f"cannot write {path}",
        found=error.strerror or str(error),
        mend=f"{advice}; existing files are unchanged",
    )


def write_manifest(directory: Path, kind: str, version: int, content: dict[str, Any]) -> None:
    """Write ``manifest.json`` with the kind and format version of a directory, and ``content``."""
    write_summed_json(directory / MANIFEST, {"kind": kind, "format": version, **content})


def read_manifest(
    directory: Path, kind: str, version: int, *, missing: str = "Check the path", outdated: str = ""
) -> dict[str, Any]:
    """Return the manifest of a directory of this kind and format version; a DataError if it is none.

    ``missing`` and ``outdated`` are the advice for a directory without a manifest and for one of another version.
    """
    path = directory / MANIFEST
    try:
        content = read_bytes(path, MAX_JSON_BYTES)
    except FileNotFoundError as error:
        found, mend = (
            (f"no {MANIFEST}", missing) if directory.is_dir() else ("no such directory", "Check the path")
        )
        if (old := _backup(directory)).is_dir():
            mend = f"A killed process left it as a backup: mv {old} {directory}"
        raise DataError(f"{directory} is not a {kind}", found=found, mend=mend) from error
    except OSError as error:
        raise DataError(f"cannot read {path}", found=str(error), mend=f"Make the {kind} again") from error
    return parse_manifest(content, directory, kind, version, outdated=outdated)


def parse_manifest(
    content: bytes, directory: Path | str, kind: str, version: int, *, outdated: str = ""
) -> dict[str, Any]:
    """Return the manifest with this content of a directory, as `read_manifest`."""
    try:
        manifest = parse_summed_json(content)
        found_kind, found_version = manifest["kind"], manifest["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"cannot read {directory}/{MANIFEST}", found=str(error), mend=f"Make the {kind} again"
        ) from error
    if found_kind != kind:
        raise DataError(f"{directory} is not a {kind}", found=f"a {found_kind}", mend="Check the path")
    if found_version != version:
        raise DataError(
            f"cannot use {directory}",
            found=f"{kind}, format {found_version}",
            expected=f"format {version}",
            mend=outdated or f"Make the {kind} again with this version of showtell",
        )
    return dict(manifest)
