"""JSON lines with image, caption (or a list of captions) and optionally split.

{"image": "dogs/1.jpg", "captions": ["A dog runs.", "A brown dog."], "split": "train"}
{"file_name": "dogs/2.jpg", "text": "A dog sleeps."}
"""

import json
from collections.abc import Iterator
from pathlib import Path

from showtell.data.sources.base import Problem, Source, read_lines
from showtell.data.sources.table import Row, group_rows, record_row

LAYOUT = "a .jsonl file of objects with image, caption and optionally split"


def matches(path: Path) -> bool:
    """Return whether this is a JSON lines file."""
    return path.is_file() and path.suffix.lower() in (".jsonl", ".ndjson")


def read(path: Path) -> Source:
    """Read a file of JSON lines; image paths are relative to it."""
    problems: list[Problem] = []
    return group_rows(read_rows(path, problems, path.name), problems, root=path.parent, name="jsonl")


def read_rows(file: Path, problems: list[Problem], name: str) -> Iterator[Row]:
    """Yield the rows of a file, which problems call ``name``."""
    for number, line in enumerate(read_lines(file), start=1):
        if not line.strip():
            continue
        row = _row(line)
        if isinstance(row, Row):
            yield row
        else:
            problems.append(Problem("unreadable-line", f"{name}:{number}", row))


def _row(line: str) -> Row | str:
    """Return the row of a line, or an error text."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"
    if not isinstance(record, dict):
        return f"expected an object, found {type(record).__name__}"
    return record_row(record)
