"""Flickr30k as Kaggle has it: ``results.csv``, which is no CSV, and ``flickr30k_images/``; no split.

    image_name| comment_number| comment
    1000092795.jpg| 0| Two young guys with shaggy hair look at their hands while hanging out in the yard .
    2199200615.jpg| 4   A dog runs across the grass .

Nothing is quoted, and one line lacks its second bar, as shown: number and caption are told apart nonetheless.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from showtell.data.sources.base import Problem, Source, read_lines
from showtell.data.sources.image_index import FLICKR30K_FOLDERS, find_images
from showtell.data.sources.table import Row, group_rows
from showtell.errors import DataError

LOOKS = "a folder with results.csv (image_name| comment_number| comment) and flickr30k_images/, or that file"
TABLES = ("results.csv", "flickr30k_images/results.csv")
HEADER = re.compile(r"\ufeff?image_name\s*\|\s*comment_number\s*\|\s*comment\s*")
LINE = re.compile(r"(?P<image>[^|]*[^|\s])\s*\|\s*\d+(?:(?P<bar>\s*\|)|\s)\s*(?P<caption>.*)", re.DOTALL)


def matches(path: Path) -> bool:
    """Tell whether this is the table or a folder with it."""
    return _table(path) is not None


def read(path: Path) -> Source:
    """Read the set.

    Raises:
        DataError: the table or the folder of photographs is missing.
    """
    table = path if path.is_file() else _table(path)
    if table is None:
        raise DataError(
            f"cannot read {path} as flickr30k-kaggle",
            found=f"no {TABLES[0]} with the header image_name| comment_number| comment",
            expected=LOOKS,
            mend="Check the path",
        )
    problems: list[Problem] = []
    bars: Counter[bool] = Counter()
    pictures = find_images(table.parent, FLICKR30K_FOLDERS)
    source = group_rows(_rows(table, problems, bars), problems, root=pictures, name="flickr30k-kaggle")
    if bars[False]:
        source.notes.append(
            f"{bars[False]:,} lines of {table.name} without their second bar were read nonetheless"
        )
    return source


def _rows(table: Path, problems: list[Problem], bars: Counter[bool]) -> Iterator[Row]:
    """Yield the table's rows, counting those that have their second bar and those that lack it."""
    for number, line in enumerate(islice(read_lines(table), 1, None), start=2):
        match = LINE.fullmatch(line)
        if match:
            bars[match["bar"] is not None] += 1
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
