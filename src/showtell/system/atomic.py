"""Writing that survives a crash at any byte: a temporary name beside the place, flushed, then renamed.

A directory of ours says in its ``manifest.json`` what it is (``kind``), in which format version, from what it was
made and with which options. Nothing reads a directory it cannot identify; nothing writes over one it did not make.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from showtell.errors import DataError, ShowtellError

MANIFEST = "manifest.json"
SWAP_SECONDS = 0.1

_FREE_SPACE = "Free some space or choose another place"
_BE_ALLOWED = "Choose a place that you may write to"
_CHECK_PATH = "Check the path"
_ADVICE = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EFBIG: _FREE_SPACE,
    errno.EACCES: _BE_ALLOWED,
    errno.EPERM: _BE_ALLOWED,
    errno.EROFS: _BE_ALLOWED,
    errno.ENOENT: _CHECK_PATH,
    errno.ENOTDIR: _CHECK_PATH,
    errno.EISDIR: _CHECK_PATH,
    errno.EEXIST: _CHECK_PATH,
    errno.ENAMETOOLONG: _CHECK_PATH,
}


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Return the SHA-256 of a JSON value, independent of key order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _file_mode() -> int:
    """Return the mode a new file would have; temporary ones are made for their owner alone."""
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def _flush_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it into place when the block ends well.

    Raises:
        DataError: the file cannot be written (full disk, no permission); what stood at ``path`` before is untouched.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(_file_mode())
        temporary.replace(path)
        _flush_directory(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def read_text(path: Path) -> str:
    """Return a UTF-8 file's text, without its byte order mark.

    Raises:
        DataError: it cannot be read, or is in another encoding.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(
            f"cannot read {path}", found=error.strerror or str(error), mend="Check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"cannot read {path}",
            found=f"byte 0x{error.object[error.start]:02X} at position {error.start:,}",
            expected="UTF-8",
            mend="Save the file as UTF-8",
        ) from error


def text_lines(path: Path, *, newline: str = "\n") -> Iterator[str]:
    """Yield a UTF-8 file's lines with their ends, one by one, without its byte order mark.

    Args:
        path: The file.
        newline: What ends a line; empty: LF, CR or both.

    Raises:
        DataError: as `read_text`.
    """
    try:
        with path.open(encoding="utf-8-sig", newline=newline) as file:
            yield from file
    except (OSError, UnicodeDecodeError):
        read_text(path)  # says where it is wrong
        raise


def read_json_lines(path: Path, *, may_be_cut: bool = False) -> list[dict[str, Any]]:
    """Return the objects of a JSON lines file of ours; none where there is no file.

    Args:
        path: The file.
        may_be_cut: Whoever appends to it may have been killed: a last line that was cut short is left out.

    Raises:
        DataError: it cannot be read, or a line is no JSON object.
    """
    if not path.exists():
        return []
    rows = []
    # Not splitlines(): U+2028 may stand inside a JSON string
    lines = read_text(path).split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(dict(json.loads(line)))
        except (ValueError, TypeError) as error:
            if may_be_cut and number == len(lines):
                break
            raise DataError(f"cannot read {path}", found=f"line {number}: {error}") from error
    return rows


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield an empty temporary directory; swap it in for ``path`` when the block ends well.

    Two renames are needed where ``path`` exists. A crash between them leaves the old directory whole as
    ``.NAME.old``, which `recover_directory` puts back and `resolve_swapped` finds. While the block runs the
    temporary directory is locked, so that no other writer takes it for what a killed one left.
    """
    path = with_file_name(path)
    old = path.with_name(f".{path.name}.old")
    temporary: Path | None = None
    lock: int | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        recover_directory(path)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
        lock = lock_directory(temporary)
        temporary.chmod(0o755)
        yield temporary
        for item in temporary.rglob("*"):
            if item.is_file():
                item.chmod(_file_mode())
                with item.open("rb+") as file:
                    os.fsync(file.fileno())
        _flush_directory(temporary)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)
        temporary.rename(path)
        _flush_directory(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        if lock is not None:
            os.close(lock)
        if not path.exists() and old.exists():
            old.rename(path)


def recover_directory(path: Path) -> None:
    """Finish a swap that a crash interrupted, and clear what killed writers left beside ``path``.

    For who is about to write ``path`` alone: a reader that did this could undo a swap that is under way, and takes
    `resolve_swapped` instead. What a living writer holds stays.
    """
    path = with_file_name(path)
    old = path.with_name(f".{path.name}.old")
    if not path.exists() and old.exists():
        old.rename(path)
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        lock = lock_directory(leftover)
        if lock is not None:
            shutil.rmtree(leftover, ignore_errors=True)
            os.close(lock)


def resolve_swapped(path: Path) -> Path:
    """Return where a directory that `atomic_directory` writes can be read: ``path``, or ``.NAME.old``.

    The latter where a writer was killed between its two renames. Nothing on the disk is changed.
    """
    path_named = with_file_name(path)
    old = path_named.with_name(f".{path_named.name}.old")
    if path.exists() or not old.exists():
        return path
    # Most likely a swap is under way, and over in a moment.
    time.sleep(SWAP_SECONDS)
    return path if path.exists() or not old.exists() else old


def with_file_name(path: Path) -> Path:
    """Return a path that ends in a name, as ``.`` and ``..`` do not, so that something can lie beside it."""
    return path.resolve() if path.name in {"", ".."} else path


def lock_directory(directory: Path) -> int | None:
    """Lock a directory until the descriptor returned is closed, or the process ends; None: another holds it."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def cannot_write(path: Path, error: OSError) -> ShowtellError:
    """Say why a place cannot be written and what to do."""
    reason = error.strerror or str(error)
    advice = _ADVICE.get(error.errno or 0, "Choose another place")
    return DataError(
        f"cannot write {path}", found=reason, mend=f"{advice}; what stood there before is untouched"
    )


def write_manifest(directory: Path, kind: str, version: int, content: dict[str, Any]) -> None:
    """Write ``manifest.json``: what this directory is, and what ``content`` says of its making."""
    write_json(directory / MANIFEST, {"kind": kind, "format": version, **content})


def read_manifest(directory: Path, kind: str, version: int) -> dict[str, Any]:
    """Read a directory's manifest and check that it is a ``kind`` of this format version.

    Raises:
        DataError: no such directory, no manifest, another kind, or another version.
    """
    path = directory / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        found_kind, found_version = manifest["kind"], manifest["format"]
    except FileNotFoundError as error:
        whole = with_file_name(directory)
        old = whole.with_name(f".{whole.name}.old")
        raise DataError(
            f"{directory} is not a {kind}",
            found=f"no {MANIFEST}" if directory.is_dir() else "no such directory",
            mend=f"A killed writer left it whole: mv {old} {directory}" if old.is_dir() else "Check the path",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"cannot read {path}", found=str(error), mend=f"Make the {kind} again") from error
    if (found_kind, found_version) != (kind, version):
        raise DataError(
            f"{directory} cannot be used here",
            found=f"{found_kind}, format {found_version}",
            expected=f"{kind}, format {version}",
            mend=f"Check the path, or make the {kind} again with this version of showtell",
        )
    return dict(manifest)
