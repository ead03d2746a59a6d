"""Flickr30k as on Kaggle: ``results.csv``, which is not CSV, and ``flickr30k_images/``; no split.

    image_name| comment_number| comment
    1000092795.jpg| 1| Two young , White males are outside near many bushes .
    2199200615.jpg| 4   A dog runs across the grass .

Nothing is quoted, and one line lacks its second bar, as shown; it is read nevertheless.
"""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from showtell.data.sources.base import Problem, Source, not_a, read_lines
from showtell.data.sources.image_index import FLICKR30K_FOLDERS, find_images
from showtell.data.sources.table import Row, group_rows

LAYOUT = "a folder with results.csv (image_name| comment_number| comment) and flickr30k_images/, or that file"
TABLES = ("results.csv", "flickr30k_images/results.csv")
HEADER = re.compile(r"\ufeff?image_name\s*\|\s*comment_number\s*\|\s*comment\s*")
LINE = re.compile(r"(?P<image>[^|]*[^|\s])\s*\|\s*\d+(?:(?P<bar>\s*\|)|\s)\s*(?P<caption>.*)", re.DOTALL)


def matches(path: Path) -> bool:
    """Return whether this is the table or a folder with it."""
    return _table(path) is not None


def read(path: Path) -> Source:
    """Read the dataset."""
    table = path if path.is_file() else _table(path)
    if table is None:
        found = f"no {TABLES[0]} with the header image_name| comment_number| comment"
        raise not_a("flickr30k-kaggle", path, found, LAYOUT)
    problems: list[Problem] = []
    without_bar: list[int] = []
    images = find_images(table.parent, FLICKR30K_FOLDERS)
    rows = _rows(table, problems, without_bar)
    source = group_rows(rows, problems, root=images, name="flickr30k-kaggle")
    if without_bar:
        source.notes.append(
            f"{len(without_bar):,} lines of {table.name} lack their second bar; they were read"
        )
    return source


def _rows(table: Path, problems: list[Problem], without_bar: list[int]) -> Iterator[Row]:
    for number, line in enumerate(islice(read_lines(table), 1, None), start=2):
        match = LINE.fullmatch(line)
        if match:
            if match["bar"] is None:
                without_bar.append(number)
            yield Row(match["image"].strip(), (match["caption"],))
        elif line.strip():
            detail = f"'{line[:60]}' is not NAME| NUMBER| CAPTION"
            problems.append(Problem("unreadable-line", f"{table.name}:{number}", detail))


def _table(path: Path) -> Path | None:
    tables = [path] if path.is_file() else [path / name for name in TABLES]
    return next((table for table in tables if table.suffix == ".csv" and _is_table(table)), None)


def _is_table(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open(encoding="utf-8", errors="replace") as text:
        return HEADER.fullmatch(text.readline(200)) is not None
