"""Large JSON files, element by element: as objects, COCO's annotations take five times their size."""

import io
import mmap
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from decimal import Decimal
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, TypeVar

import ijson

from showtell.errors import DataError
from showtell.system.reading import cannot_read, open_file, text_encoding

_BUFFER = 2**20
_HEAD = 2**16
_SEARCHED = 2**28
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DEEPEST = 64  # levels of an element: many more end in a RecursionError where it is printed
_NO_NUMBER = re.compile(r'(?<![\w"])(?:NaN|-?Infinity)')
T = TypeVar("T")


def read_array(file: Path, name: str) -> Iterator[Any]:
    """Yield the elements of the array ``name`` of the top-level object in a JSON file; none if there is none.

    The text is UTF-8, or UTF-16 with a byte order mark; "" is a top-level array. A file that cannot be read, is
    truncated or is not JSON is a DataError. After a whole number of more than 64 bits, fractions are of type Decimal.
    """
    prefix = f"{name}.item".removeprefix(".")
    with _opened(file) as content:
        yield from _of_any_number(content, partial(ijson.items, prefix=prefix, buf_size=_BUFFER))


def read_entries(file: Path) -> Iterator[tuple[str, Any]]:
    """Yield key and element of each array in the top-level object, and key and value of what is no array.

    A top-level array has the key "". Errors are those of `read_array`, and an element of more than 64 levels.
    """
    with _opened(file) as content:
        yield from _entries(content)


def outline(file: Path) -> dict[str, Any]:
    """Return the keys at the beginning of a JSON file, each with the first element of its array or its value.

    No more than 64 KiB are read; empty if the file is not JSON.
    """
    found: dict[str, Any] = {}
    with suppress(ijson.JSONError):  # cut, or not JSON
        for key, value in _entries(io.BytesIO(read_head(file))):
            found.setdefault(key, value)
    return found


def read_head(file: Path) -> bytes:
    """Return the first 64 KiB of a text file as UTF-8, without a byte order mark."""
    try:
        with open_file(file) as content:
            head = content.read(_HEAD)
    except OSError as error:
        raise cannot_read(file, error) from error
    if text_encoding(head) == "utf-16":
        return head.decode("utf-16", "ignore").encode()
    return head.removeprefix(_BYTE_ORDER_MARK)


def first_element(file: Path, name: str) -> Any:
    """Return the first element of the first array ``name``, at any depth of a JSON file, or None.

    The key is searched for in the first 256 MiB without parsing them; an element of more than 64 KiB is not found.
    """
    key = f'"{name}"'.encode()
    before_array = re.compile(key + rb"\s*:\s*(?=\[)")
    with _opened(file) as content, mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ) as view:
        found, start = None, view.find(key, 0, _SEARCHED)
        while start >= 0 and not (found := before_array.match(view, start)):
            start = view.find(key, start + 1, _SEARCHED)
        head = io.BytesIO(view[found.end() : found.end() + _HEAD] if found else b"")
    try:
        return next((element for _, element in _entries(head)), None)
    except ijson.JSONError:
        return None


def id_text(value: Any) -> str | None:
    """Return an id as text (7, "7" and 7.0 are the same), or None if it is neither text nor a whole number."""
    if type(value) in (int, str):  # of nearly all files
        return str(value)
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def _of_any_number(content: IO[bytes], parse: Callable[..., Iterator[T]]) -> Iterator[T]:
    """Yield what ``parse`` returns; from the first number of more than 64 bits on, it is the slower exact parser."""
    start, count = content.tell(), 0
    try:
        for value in parse(content, use_float=True):
            yield value
            count += 1
    except ijson.JSONError as error:
        if "overflow" not in str(error):
            raise
        content.seek(start)
        yield from islice(parse(content, use_float=False), count, None)


def _entries(content: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """Yield the entries of `read_entries`; one at a time is in memory."""
    return _of_any_number(content, _parse_entries)


def _parse_entries(content: IO[bytes], *, use_float: bool) -> Iterator[tuple[str, Any]]:
    events = ijson.basic_parse(content, use_float=use_float, buf_size=_BUFFER)

    def build(key: str, event: str, value: Any) -> Any:
        builder, depth = ijson.ObjectBuilder(), 0
        while True:
            builder.event(event, value)
            depth += (event in ("start_map", "start_array")) - (event in ("end_map", "end_array"))
            if not depth:
                return builder.value
            if depth > _DEEPEST:
                raise ijson.JSONError(f"an element of more than {_DEEPEST} levels in '{key}'")
            event, value = next(events)

    def elements(key: str) -> Iterator[tuple[str, Any]]:
        for event, value in events:
            if event == "end_array":
                return
            yield key, build(key, event, value)

    for event, _ in events:
        if event == "start_array":
            yield from elements("")
        elif event == "start_map":
            for end, key in events:
                if end == "end_map":
                    break
                inner, value = next(events)
                if inner == "start_array":
                    yield from elements(key)
                else:
                    yield key, build(key, inner, value)


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    """Yield a JSON file after its byte order mark, in UTF-8; what cannot be read or parsed is a DataError."""
    try:
        with open_file(file) as content:
            head = content.read(len(_BYTE_ORDER_MARK))
            content.seek(len(head) * (head == _BYTE_ORDER_MARK))
            with _as_utf8(file) if text_encoding(head) == "utf-16" else nullcontext(content) as text:
                yield text
    except OSError as error:
        raise cannot_read(file, error) from error
    except (ijson.JSONError, UnicodeDecodeError) as error:
        found = " ".join(str(error).split())
        number = _NO_NUMBER.search(found)
        mend = f"Replace {number[0]} by null" if number else "Download the file again"
        raise DataError(f"{file} is not JSON in UTF-8", found=found[:200], mend=mend) from error


@contextmanager
def _as_utf8(file: Path) -> Iterator[IO[bytes]]:
    """Yield a temporary copy in UTF-8 of a file in UTF-16."""
    with file.open(encoding="utf-16", newline="") as text, tempfile.TemporaryFile() as copy:
        while part := text.read(_BUFFER):
            copy.write(part.encode())
        copy.seek(0)
        yield copy
