"""Flickr30k as on Kaggle: ``results.csv``, which is not CSV, and ``flickr30k_images/``; no split.

    image_name| comment_number| comment
    1000092795.jpg| 1| Two young , White males are outside near many bushes .
    2199200615.jpg| 4   A dog runs across the grass .

Nothing is quoted, and one line lacks its second bar, as shown; it is read nevertheless.
"""

import re
from itertools import islice
from pathlib import Path

from showtell.data.sources.base import Problem, Source, parse_records
from showtell.data.sources.files import FLICKR30K_FOLDERS, filled_lines, find_images
from showtell.data.sources.table import Row, group_rows

LAYOUT = "a folder with results.csv (image_name| comment_number| comment) and flickr30k_images/, or that file"
TABLES = ("results.csv", "flickr30k_images/results.csv")
MISSING = f"no {TABLES[0]} with the header image_name| comment_number| comment"
HEADER = re.compile(r"\ufeff?image_name\s*\|\s*comment_number\s*\|\s*comment\s*")
LINE = re.compile(r"(?P<image>[^|]*[^|\s])\s*\|\s*\d+(?:(?P<bar>\s*\|)|\s)\s*(?P<caption>.*)", re.DOTALL)


def find(path: Path, *, forced: bool) -> list[Path]:
    if path.is_file():
        return [path] if forced or _is_table(path) else []
    return [table for name in TABLES if _is_table(table := path / name)][:1]


def _is_table(file: Path) -> bool:
    if file.suffix != ".csv" or not file.is_file():
        return False
    with file.open(encoding="utf-8", errors="replace") as text:
        return HEADER.fullmatch(text.readline(200)) is not None


def read(path: Path, files: list[Path]) -> Source:
    [table] = files
    problems: list[Problem] = []
    without_bar = 0

    def parse(line: str) -> Row:
        nonlocal without_bar
        match = LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"'{line[:60]}' is not NAME| NUMBER| CAPTION")
        without_bar += match["bar"] is None
        return Row(match["image"].strip(), (match["caption"],))

    rows = parse_records(islice(filled_lines(table), 1, None), parse, problems)
    source = group_rows(rows, find_images(table, FLICKR30K_FOLDERS), problems)
    if without_bar:
        source.notes.append(f"{without_bar:,} lines of {table.name} lack their second bar; they were read")
    return source
