"""Reading of files that anyone may have written: text, JSON, JSON lines. Time and memory are bounded.

Only regular files are opened: a read of a named pipe could wait forever, and one of a device never end.
"""

import codecs
import contextlib
import errno
import hashlib
import json
import math
import os
import stat
from collections.abc import Iterable, Iterator
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Any

from showtell.errors import DataError, reason

SUM = "sha256_of_values"
"""Key of a JSON object: the SHA-256 of all others."""
MAX_JSON_BYTES = 16 * 2**20
MAX_TEXT_BYTES = 2**30
MAX_LEVELS = 64
MAX_DIGITS, MAX_ID_DIGITS = 20, 1_000
"""Of a whole number: 64 bits have 20; ids in foreign tables may have more."""

_OTHERS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class ChangedValuesError(ValueError):
    """A JSON file has other values than were written."""


def open_file(path: Path) -> BufferedReader:
    """Open a regular file for reading; an OSError for anything else."""
    # Twice: opening may already act on a device, and the path may be another one a moment later.
    _require_regular(path, path.stat().st_mode)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(descriptor, "rb")
    try:
        _require_regular(path, os.fstat(descriptor).st_mode)
    except OSError:
        file.close()
        raise
    return file


def _require_regular(path: Path, mode: int) -> None:
    kind = stat.S_IFMT(mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if kind in _OTHERS:
        raise OSError(errno.EINVAL, f"{_OTHERS[kind]}, not a file", str(path))


def read_bytes(path: Path, limit: int = MAX_TEXT_BYTES) -> bytes:
    """Return a file's bytes; an OSError if it is not a regular file, or larger than ``limit``."""
    with open_file(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"more than {limit / 2**20:,.0f} MiB", str(path))
    return content


def read_text(path: Path) -> str:
    """Return a file's text: UTF-8, or UTF-16 with a byte order mark; a DataError if it is neither."""
    try:
        return decode_text(read_bytes(path), path)
    except OSError as error:
        raise cannot_read(path, error) from error


def decode_text(content: bytes, path: Path) -> str:
    """Return the text of a file's content, as `read_text`."""
    try:
        return content.decode(text_encoding(content))
    except UnicodeDecodeError as error:
        raise DataError(
            f"cannot read {path}",
            found=f"byte 0x{error.object[error.start]:02X} at position {error.start:,}",
            expected="UTF-8",
            mend="Save the file as UTF-8",
        ) from error


def text_encoding(content: bytes) -> str:
    """Return the encoding of a text by its first bytes: ``utf-16`` with a byte order mark, else ``utf-8-sig``."""
    return "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


def text_lines(path: Path, *, newline: str | None = "\n") -> Iterator[str]:
    """Yield the lines of a file with their ends, as `read_text`.

    ``newline=""`` ends lines at LF, CR or both; None likewise, and replaces these ends by LF.
    """
    try:
        with open_file(path) as file:
            encoding = text_encoding(file.read(2))
        with path.open(encoding=encoding, newline=newline) as text:
            yield from text
    except (OSError, UnicodeDecodeError):
        read_text(path)  # raises with the position
        raise


def parse_json(text: str | bytes, *, lenient: bool = False) -> Any:
    """Return the value of a JSON text.

    Unless ``lenient``, which is for rows of foreign tables, a key that occurs twice, a number that is not finite,
    a whole number of more than `MAX_DIGITS` digits and a text that is not valid Unicode are errors too.

    Raises:
        ValueError: not JSON, more than `MAX_LEVELS` levels, or a whole number of more than `MAX_ID_DIGITS` digits.
    """
    try:
        if lenient:
            value = json.loads(text, parse_int=partial(_whole_number, limit=MAX_ID_DIGITS))
        else:
            value = json.loads(
                text, parse_int=_whole_number, parse_constant=_refuse, object_pairs_hook=_distinct
            )
    except RecursionError as error:
        raise ValueError(f"more than {MAX_LEVELS} levels") from error
    check_values(value, lenient=lenient)
    return value


def read_json(path: Path, limit: int = MAX_JSON_BYTES) -> Any:
    """Return the value of a JSON file in UTF-8, as `parse_json`, without the sum of its values.

    Raises:
        OSError: the file cannot be read.
        ChangedValuesError: the file has a sum, of other values.
        ValueError: not JSON.
    """
    return parse_summed_json(read_bytes(path, limit))


def parse_summed_json(content: bytes) -> Any:
    """Return the value of a JSON file's content, as `read_json`."""
    value = parse_json(content)
    # Files of earlier versions have no sum.
    if (
        isinstance(value, dict)
        and (found := value.pop(SUM, None)) is not None
        and found != sha256_json(value)
    ):
        raise ChangedValuesError("other values than were written (edited by hand, or damaged)")
    return value


def sha256_json(value: Any) -> str:
    """Return the SHA-256 of a JSON value, independent of key order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_json_object(path: Path, *, mend: str = "") -> dict[str, Any]:
    """Return the object of a JSON file; a DataError, with this advice, for anything else."""
    try:
        return as_object(read_json(path))
    except OSError as error:
        raise cannot_read(path, error) from error
    except ValueError as error:
        raise DataError(
            f"cannot read {path}", found=str(error), expected="a JSON object", mend=mend
        ) from error


def read_json_lines(path: Path, *, may_be_cut: bool = False) -> list[dict[str, Any]]:
    """Return the objects of a JSON lines file, none if it does not exist; a DataError if a line is no object.

    If it ``may_be_cut``, a broken last line is left out: a process may have been killed while it appended.
    """
    if not path.exists():
        return []
    rows = []
    # Not splitlines(): JSON strings may contain U+2028.
    lines = read_text(path).split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(as_object(parse_json(line, lenient=True)))
        except ValueError as error:
            if may_be_cut and number == len(lines):
                break
            raise DataError(f"cannot read {path}", found=f"line {number}: {error}") from error
    return rows


def as_object(value: Any) -> dict[str, Any]:
    """Return a JSON value that is an object; a ValueError if it is anything else."""
    if not isinstance(value, dict):
        raise ValueError(f"a JSON value of type {type(value).__name__}, not an object")
    return value


def check_values(value: Any, *, lenient: bool = False) -> None:
    """Raise a ValueError for more than `MAX_LEVELS` levels and, unless ``lenient``, odd numbers and texts."""
    level: list[Any] = [value]
    for _ in range(MAX_LEVELS):
        if not lenient:
            _check_scalars(level)
        containers = (part for part in level if isinstance(part, dict | list))
        level = [part for each in containers for part in (each.values() if isinstance(each, dict) else each)]
        if not level:
            return
    raise ValueError(f"more than {MAX_LEVELS} levels")


def _check_scalars(values: Iterable[Any]) -> None:
    for value in values:
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"the number {value}")
        texts = (value,) if isinstance(value, str) else value if isinstance(value, dict) else ()
        for text in texts:
            if (
                isinstance(text, str)
                and not text.isascii()
                and any("\ud800" <= each <= "\udfff" for each in text)
            ):
                raise ValueError("a text that is not valid Unicode")


def _whole_number(text: str, limit: int = MAX_DIGITS) -> int:
    if len(text) > limit:
        raise ValueError(f"a whole number of {len(text):,} digits")
    return int(text)


def _refuse(name: str) -> Any:
    raise ValueError(f"the number {name}")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        known: set[str] = set()
        twice = next(key for key, _ in pairs if key in known or known.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key '{twice[:100]}' twice")
    return found


@contextlib.contextmanager
def foreign_values(path: Path, *, mend: str = "") -> Iterator[None]:
    """Raise a DataError about a file for what values of unexpected kinds cause inside the block."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise DataError(f"cannot use {path}", found=reason(error), mend=mend) from error


def cannot_read(path: Path, error: OSError) -> DataError:
    """Return the error of a path that cannot be read."""
    return DataError(f"cannot read {path}", found=error.strerror or str(error), mend="Check the path")
