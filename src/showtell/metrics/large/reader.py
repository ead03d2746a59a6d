"""Rows of a file of captions, handed over one by one: neither the file nor its rows are ever all in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from showtell.errors import DataError
from showtell.system.json_stream import read_array

_HEAD = 1 << 16
Row = Mapping[str, Any]


class _FallBack(Exception):
    """What only somebody who sees the whole file can judge."""


def take_rows(path: Path, take: Callable[[Any], None]) -> None:
    """Hand the rows of a file over, pictures that COCO's annotations list first, as rows without captions.

    Raises:
        IrregularError: the file cannot be read, or not in this way.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD).removeprefix(b"\xef\xbb\xbf").lstrip()
        if head.startswith(b"["):
            for row in read_array(path):
                take(row)
        elif head and not _is_row(head.split(b"\n", 1)[0]):
            _take_annotations(path, take)
        else:
            _take_lines(path, take)
    except (DataError, OSError, ValueError, RecursionError) as error:
        raise _FallBack(str(error)) from error


def _is_row(line: bytes) -> bool:
    """Tell whether the first line is a row by itself."""
    try:
        content = json.loads(line)
    except ValueError:
        return False
    return not (isinstance(content, dict) and isinstance(content.get("annotations"), list))


def _take_lines(path: Path, take: Callable[[Any], None]) -> None:
    # Not the usual line breaks: U+2028 may stand inside a JSON string
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for line in file:
            if line.strip():
                take(json.loads(line))


def _take_annotations(path: Path, take: Callable[[Any], None]) -> None:
    number = -1
    for number, image in enumerate(read_array(path, "images")):
        if not isinstance(image, dict):
            raise _FallBack(f"images[{number}]")
        take({"image_id": image.get("id"), "captions": []})
    count = 0
    for count, annotation in enumerate(read_array(path, "annotations"), 1):  # noqa: B007 - used below
        take(annotation)
    if number < 0 or not count:
        raise _FallBack("no images, or no annotations")
