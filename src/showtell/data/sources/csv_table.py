"""CSV (or TSV) of image, caption and, where there is one, split; several rows may belong to one picture.

    image,caption,split
    dogs/1.jpg,"A dog, running.",train

The header names the columns (also file_name, text, caption_0 to caption_4, ...); the delimiter is the one under which
it does. Where the caption is the last column, what follows a surplus delimiter is still caption.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from showtell.data.sources.base import Problem, Source
from showtell.data.sources.table import (
    CAPTION_COLUMNS,
    IMAGE_COLUMNS,
    SPLIT_COLUMNS,
    Row,
    find_captions,
    find_column,
    group_rows,
)
from showtell.errors import DataError
from showtell.system.atomic import text_lines

LOOKS = "a .csv or .tsv file with the columns image, caption and perhaps split"
_DELIMITERS = ",\t;|"


def matches(path: Path) -> bool:
    """Tell whether this is a CSV file."""
    return path.is_file() and path.suffix.lower() in (".csv", ".tsv")


def read(path: Path) -> Source:
    """Read a table; pictures are found relative to it."""
    return read_table(path, root=path.parent, name="csv")


def read_table(table: Path, *, root: Path, name: str) -> Source:
    """Read a table whose pictures lie under ``root``.

    Raises:
        DataError: there is no header with an image and a caption column, or it is not UTF-8.
    """
    problems: list[Problem] = []
    return group_rows(read_rows(table, problems, table.name), problems, root=root, name=name)


def read_rows(table: Path, problems: list[Problem], name: str) -> Iterator[Row]:
    """Yield a table's rows; problems call it ``name``.

    Raises:
        DataError: as `read_table`.
    """
    lines = text_lines(table, newline="")
    first = next(lines, "")
    delimiter, columns = _header(table, first.rstrip("\r\n"))
    image, captions = find_column(columns, IMAGE_COLUMNS), find_captions(columns)
    split = find_column(columns, SPLIT_COLUMNS)
    reader = csv.reader(chain([first], lines), delimiter=delimiter)
    next(reader)
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problems.append(Problem("unreadable-line", f"{name}:{reader.line_num}", str(error)))
            continue
        if not fields:
            continue
        if columns[-1] == captions[-1] and len(fields) > len(columns):
            fields[len(columns) - 1 :] = [delimiter.join(fields[len(columns) - 1 :])]
        if len(fields) != len(columns):
            detail = (
                f"{len(fields)} fields, {len(columns)} columns: put captions with '{delimiter}' in quotes"
            )
            problems.append(Problem("unreadable-line", f"{name}:{reader.line_num}", detail))
            continue
        values = dict(zip(columns, fields, strict=True))
        if not values[str(image)].strip():
            problems.append(Problem("unreadable-line", f"{name}:{reader.line_num}", "no image"))
            continue
        texts = tuple(values[column] for column in captions)
        yield Row(values[str(image)].strip(), texts, values[split].strip() if split else "")


def _header(table: Path, line: str) -> tuple[str, list[str]]:
    """Return the delimiter and the columns of a header line."""
    for delimiter in _DELIMITERS:
        columns = next(csv.reader([line], delimiter=delimiter), [])
        if find_column(columns, IMAGE_COLUMNS) and find_captions(columns):
            return delimiter, columns
    raise DataError(
        f"cannot read {table}",
        found=f"the first line '{line[:80]}'",
        expected=f"a header with an image column ({', '.join(IMAGE_COLUMNS)}) and a caption column "
        f"({', '.join(CAPTION_COLUMNS)})",
        mend="Add a header line, for example: image,caption,split",
    )
