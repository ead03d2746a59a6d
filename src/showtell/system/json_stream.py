"""Large JSON files, one element at a time: COCO's annotations would take five times their size in memory.

A file is an object whose arrays hold what matters, ``{"images": [...], "annotations": [...], ...}``. A window moves
over its text; each element is decoded by the standard library, handed over and forgotten.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from showtell.errors import DataError

_WINDOW = 2**20
_SPACE = " \t\r\n"


def read_arrays(file: Path, take: Mapping[str, Callable[[int, Any], None]]) -> bool:
    """Hand the elements of some arrays of a JSON object over, in the order of the file.

    Args:
        file: UTF-8, with or without byte order mark.
        take: By the name of an array: what is called with the number and the value of each of its elements.

    Returns:
        Whether the file is an object that has all of these arrays.

    Raises:
        DataError: the file cannot be read, is cut short, or is not JSON.
    """
    with _opened(file) as window:
        return _walk(window, take)


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[_ReadBuffer]:
    """Say of all that goes wrong with a file which it is."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            yield _ReadBuffer(text)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"cannot read {file}", found=reason, mend="Check the path") from error
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02X}"
        raise DataError(
            f"cannot read {file}", found=found, expected="UTF-8", mend="Download it again"
        ) from error
    except (_NotJsonError, RecursionError) as error:
        raise DataError(f"{file} is not JSON", found=str(error), mend="Download it again") from error


def read_array(file: Path, take: Callable[[int, Any], None]) -> None:
    """Hand the elements of a file that is one array over, in their order.

    Raises:
        DataError: as `read_arrays`; or the file is no array.
    """
    with _opened(file) as window:
        _elements(window, take)
        _end(window)


class _NotJsonError(Exception):
    """What is wrong, and at which character of the file."""


class _ReadBuffer:
    """A part of a text, from where the reading stands; grows where a value does not end in it."""

    def __init__(self, text: TextIO) -> None:
        self._source, self._text, self._at, self._passed = text, "", 0, 0
        self._decoder = json.JSONDecoder()

    def peek(self) -> str:
        """Return the next character that is no white space; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def take(self, expected: str) -> str:
        """Go past the next character, one of ``expected``."""
        found = self.peek()
        if not found or found not in expected:
            raise _NotJsonError(f"{found or 'the end'} at character {self._passed + self._at:,}")
        self._at += 1
        return found

    def value(self) -> Any:
        """Decode the next value and go past it."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if not self._more():
                    where = self._passed + error.pos
                    raise _NotJsonError(f"{error.msg} at character {where:,}") from error
                continue
            # A number that ends with the window may go on after it.
            if end < len(self._text) or not self._more():
                self._at = end
                return value

    def _more(self) -> bool:
        """Drop what has been read and read on: as much again, so that long values cost no more than short ones."""
        part = self._source.read(max(_WINDOW, len(self._text)))
        if part:
            self._passed += self._at
            self._text, self._at = self._text[self._at :] + part, 0
        return bool(part)


def _walk(window: _ReadBuffer, take: Mapping[str, Callable[[int, Any], None]]) -> bool:
    if window.peek() != "{":
        window.value()
        return False
    seen = set()
    window.take("{")
    end = window.take("}") if window.peek() == "}" else ""
    while not end:
        name = window.value() if window.peek() == '"' else window.take('"')
        window.take(":")
        if name in take and window.peek() == "[":
            _elements(window, take[name])
            seen.add(name)
        else:
            window.value()
        end = window.take(",}").strip(",")
    _end(window)
    return seen >= take.keys()


def _end(window: _ReadBuffer) -> None:
    if window.peek():
        window.take("")


def _elements(window: _ReadBuffer, take: Callable[[int, Any], None]) -> None:
    window.take("[")
    end = window.take("]") if window.peek() == "]" else ""
    number = 0
    while not end:
        take(number, window.value())
        number += 1
        end = window.take(",]").strip(",")
