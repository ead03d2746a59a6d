"""Tables of (image, caption[, split]): column names, and rows grouped by image."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from showtell.data.sources.base import Example, Problem, Source, examples_on_disk

IMAGE_COLUMNS = ("image", "file_name", "filename", "image_path", "image_name", "path", "file")
CAPTION_COLUMNS = (
    *("caption", "captions", "text", "texts", "sentence", "sentences"),
    *("description", "alt_text", "txt"),
)
SPLIT_COLUMNS = ("split", "subset")
_NUMBERED = re.compile(r"(?:caption|text|sentence)_?\d+")


@dataclass(frozen=True)
class Row:
    """A row of a table: image path as written, captions, split or an empty text."""

    image: str
    captions: tuple[str, ...]
    split: str = ""


def find_column(columns: Iterable[str], names: Sequence[str]) -> str | None:
    """Return the column with the first of ``names`` that occurs, ignoring case and surrounding spaces."""
    by_name = {column.strip().lower(): column for column in columns}
    return next((by_name[name] for name in names if name in by_name), None)


def find_captions(columns: Iterable[str]) -> list[str]:
    """Return the caption columns: the first of `CAPTION_COLUMNS`, else caption_0, caption_1, ..."""
    columns = list(columns)
    named = find_column(columns, CAPTION_COLUMNS)
    return [named] if named else [column for column in columns if _NUMBERED.fullmatch(column.strip().lower())]


def record_row(record: dict[str, Any]) -> Row | str:
    """Return the row of a record by column name, or an error text."""
    image, split = (find_column(record, names) for names in (IMAGE_COLUMNS, SPLIT_COLUMNS))
    if image is None or not isinstance(record[image], str) or not record[image].strip():
        return f"no image ({', '.join(IMAGE_COLUMNS)})"
    captions = caption_texts(record)
    if isinstance(captions, str):
        return captions
    name = record[split] if split else ""
    return Row(record[image].strip(), captions, "" if name is None else str(name).strip())


def caption_texts(record: dict[str, Any]) -> tuple[str, ...] | str:
    """Return the captions of a record by column name, or an error text."""
    columns = find_captions(record)
    if not columns:
        return f"no caption ({', '.join(CAPTION_COLUMNS)})"
    texts: list[str] = []
    for column in columns:
        value = record[column]
        if value is None and len(columns) > 1:
            continue
        values = [_raw(text) for text in (value if isinstance(value, list) else [value])]
        if not all(isinstance(text, str) for text in values):
            return f"{column} is neither text nor a list of texts"
        texts += values
    return tuple(texts)


def _raw(text: Any) -> Any:
    """Return the text of a sentence in Karpathy's format, which some datasets keep."""
    return text.get("raw") if isinstance(text, dict) else text


def group_rows(rows: Iterable[Row], problems: list[Problem], *, root: Path, name: str) -> Source:
    """Group captions by image and split, in order of first appearance; paths are relative to ``root``."""
    examples = examples_on_disk(key=lambda example: f"{example.split}\0{example.key}")
    # Rows of an image are mostly consecutive.
    for (image, split), group in groupby(rows, key=lambda row: (row.image, row.split)):
        key, captions = str(PurePosixPath(image)), tuple(text for row in group for text in row.captions)
        example = Example(key, root / key, captions, split)
        earlier = examples.add(example)
        if earlier is not None:
            examples.replace(replace(example, captions=earlier.captions + captions))
    return Source(examples, problems, name)
