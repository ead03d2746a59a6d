"""JSON lines of image, caption (or a list of captions) and, where there is one, split.

{"image": "dogs/1.jpg", "captions": ["A dog runs.", "A brown dog."], "split": "train"}
{"file_name": "dogs/2.jpg", "text": "A dog sleeps."}
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from showtell.data.sources.base import Problem, Source, read_lines
from showtell.data.sources.table import Row, group_rows, record_row

LOOKS = "a .jsonl file of objects with image, caption and perhaps split"


def matches(path: Path) -> bool:
    """Tell whether this is a JSON lines file."""
    return path.is_file() and path.suffix.lower() in (".jsonl", ".ndjson")


def read(path: Path) -> Source:
    """Read a file of JSON lines; pictures are found relative to it."""
    problems: list[Problem] = []
    return group_rows(read_rows(path, problems, path.name), problems, root=path.parent, name="jsonl")


def read_rows(file: Path, problems: list[Problem], name: str) -> Iterator[Row]:
    """Yield a file's rows; problems call it ``name``."""
    for number, line in enumerate(read_lines(file), start=1):
        if not line.strip():
            continue
        row = _row(line)
        if isinstance(row, Row):
            yield row
        else:
            problems.append(Problem("unreadable-line", f"{name}:{number}", row))


def _row(line: str) -> Row | str:
    """Return a line's row, or what is wrong with it."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"
    if not isinstance(record, dict):
        return f"expected an object, found {type(record).__name__}"
    return record_row(record)
