"""JSON lines of image, caption (or a list of captions) and, where there is one, split.

{"image": "dogs/1.jpg", "captions": ["A dog runs.", "A brown dog."], "split": "train"}
{"file_name": "dogs/2.jpg", "text": "A dog sleeps."}
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from showtell.data.sources.rows import (
    CAPTION_COLUMNS,
    IMAGE_COLUMNS,
    SPLIT_COLUMNS,
    Row,
    find_column,
    group_rows,
)
from showtell.data.sources.source import Problem, Source, read_lines

LOOKS = "a .jsonl file (or a folder with metadata.jsonl) of objects with image, caption and perhaps split"


def recognise(path: Path) -> bool:
    """Tell whether this is a JSON lines file, or a folder with a ``metadata.jsonl``."""
    return _file(path) is not None


def read(path: Path) -> Source:
    """Read a file of JSON lines; pictures are found relative to it."""
    file = _file(path) or path
    problems: list[Problem] = []
    return group_rows(_rows(file, problems), problems, root=file.parent, name="jsonl")


def _file(path: Path) -> Path | None:
    if path.is_file() and path.suffix.lower() in (".jsonl", ".ndjson"):
        return path
    return path / "metadata.jsonl" if (path / "metadata.jsonl").is_file() else None


def _rows(file: Path, problems: list[Problem]) -> Iterator[Row]:
    for number, line in enumerate(read_lines(file), start=1):
        if not line.strip():
            continue
        row = _row(line)
        if isinstance(row, Row):
            yield row
        else:
            problems.append(Problem("unreadable-line", f"{file.name}:{number}", row))


def _row(line: str) -> Row | str:
    """Return a line's row, or what is wrong with it."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"
    if not isinstance(record, dict):
        return f"expected an object, found {type(record).__name__}"
    image, caption, split = (
        find_column(record, names) for names in (IMAGE_COLUMNS, CAPTION_COLUMNS, SPLIT_COLUMNS)
    )
    if image is None or not isinstance(record[image], str) or not record[image].strip():
        return f"no image ({', '.join(IMAGE_COLUMNS)})"
    if caption is None:
        return f"no caption ({', '.join(CAPTION_COLUMNS)})"
    captions = record[caption] if isinstance(record[caption], list) else [record[caption]]
    if not all(isinstance(text, str) for text in captions):
        return f"{caption} is neither text nor a list of texts"
    name = record[split] if split else ""
    return Row(record[image].strip(), tuple(captions), "" if name is None else str(name).strip())
