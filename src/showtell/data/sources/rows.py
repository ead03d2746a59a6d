"""What tables of (image, caption[, split]) have in common: column names, and many rows for one picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from showtell.data.sources.source import Example, Problem, Source

IMAGE_COLUMNS = ("image", "file_name", "filename", "image_path", "path", "file")
CAPTION_COLUMNS = ("caption", "captions", "text", "sentence")
SPLIT_COLUMNS = ("split", "subset")


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


def group_rows(rows: Iterable[Row], problems: list[Problem], *, root: Path, name: str) -> Source:
    """Gather each picture's captions (per split), in order of first appearance; paths start at ``root``."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        key = str(PurePosixPath(row.image))
        groups.setdefault((key, row.split), []).extend(row.captions)
    examples = [Example(key, root / key, tuple(captions), split) for (key, split), captions in groups.items()]
    return Source(examples, problems, name)
