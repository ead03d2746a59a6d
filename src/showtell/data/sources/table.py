"""What tables of (image, caption[, split]) have in common: column names, and many rows for one picture."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from showtell.data.sources.base import Example, Problem, Source, spilled_examples

IMAGE_COLUMNS = ("image", "file_name", "filename", "image_path", "image_name", "path", "file")
CAPTION_COLUMNS = (
    "caption",
    "captions",
    "text",
    "texts",
    "sentence",
    "sentences",
    "description",
    "alt_text",
    "txt",
)
SPLIT_COLUMNS = ("split", "subset")
_NUMBERED = re.compile(r"(?:caption|text|sentence)_?\d+")


@dataclass(frozen=True)
class Row:
    """One row of a table: a picture as written there, captions, a split or nothing."""

    image: str
    captions: tuple[str, ...]
    split: str = ""


def find_column(columns: Iterable[str], names: Sequence[str]) -> str | None:
    """Return the column that stands for one of ``names``, or None; case and spaces around do not count."""
    by_name = {column.strip().lower(): column for column in columns}
    return next((by_name[name] for name in names if name in by_name), None)


def find_captions(columns: Iterable[str]) -> list[str]:
    """Return the columns that hold captions: the first of `CAPTION_COLUMNS`, else caption_0, caption_1, ..."""
    columns = list(columns)
    named = find_column(columns, CAPTION_COLUMNS)
    return [named] if named else [column for column in columns if _NUMBERED.fullmatch(column.strip().lower())]


def record_row(record: dict[str, Any]) -> Row | str:
    """Return the row that an object with columns by name stands for, or what is wrong with it."""
    image, split = (find_column(record, names) for names in (IMAGE_COLUMNS, SPLIT_COLUMNS))
    if image is None or not isinstance(record[image], str) or not record[image].strip():
        return f"no image ({', '.join(IMAGE_COLUMNS)})"
    captions = caption_texts(record)
    if isinstance(captions, str):
        return captions
    name = record[split] if split else ""
    return Row(record[image].strip(), captions, "" if name is None else str(name).strip())


def caption_texts(record: dict[str, Any]) -> tuple[str, ...] | str:
    """Return the captions of an object with columns by name, or what is wrong with them."""
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
    """Return the text of one of Karpathy's sentences, which some sets keep as they are."""
    return text.get("raw") if isinstance(text, dict) else text


def group_rows(rows: Iterable[Row], problems: list[Problem], *, root: Path, name: str) -> Source:
    """Gather each picture's captions (per split), in order of first appearance; paths start at ``root``."""
    examples = spilled_examples(name=lambda example: (example.key, example.split))
    # Mostly those of a picture stand together.
    for (image, split), together in groupby(rows, key=lambda row: (row.image, row.split)):
        key, captions = str(PurePosixPath(image)), tuple(text for row in together for text in row.captions)
        example = Example(key, root / key, captions, split)
        earlier = examples.add(example)
        if earlier is not None:
            examples.replace(replace(example, captions=earlier.captions + captions))
    return Source(examples, problems, name)
