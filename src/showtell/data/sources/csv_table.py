"""CSV or TSV with the columns image, caption and optionally split; an image may have several rows.

    image,caption,split
    dogs/1.jpg,"A dog, running.",train

The header names the columns (also file_name, text, caption_0 to caption_4, ...) and determines the delimiter. If the
caption is the last column, it may contain unquoted delimiters.
"""

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

LAYOUT = "a .csv or .tsv file with the columns image, caption and optionally split"
_DELIMITERS = ",\t;|"


def matches(path: Path) -> bool:
    """Return whether this is a CSV file."""
    return path.is_file() and path.suffix.lower() in (".csv", ".tsv")


def read(path: Path) -> Source:
    """Read a table; image paths are relative to it."""
    return read_table(path, root=path.parent, name="csv")


def read_table(table: Path, *, root: Path, name: str) -> Source:
    """Read a table with image paths relative to ``root``.

    Raises:
        DataError: the header has no image or caption column, or the file is not UTF-8.
    """
    problems: list[Problem] = []
    return group_rows(read_rows(table, problems, table.name), problems, root=root, name=name)


def read_rows(table: Path, problems: list[Problem], name: str) -> Iterator[Row]:
    """Yield the rows of a table, which problems call ``name``.

    Raises:
        DataError: as `read_table`.
    """
    lines = text_lines(table, newline="")
    first = next(lines, "")
    delimiter, columns = _header(table, first.rstrip("\r\n"))
    image, captions = str(find_column(columns, IMAGE_COLUMNS)), find_captions(columns)
    split = find_column(columns, SPLIT_COLUMNS)
    reader = csv.reader(chain([first], lines), delimiter=delimiter)
    next(reader)

    def unreadable(detail: str) -> None:
        problems.append(Problem("unreadable-line", f"{name}:{reader.line_num}", detail))

    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            unreadable(str(error))
            continue
        if not fields:
            continue
        if columns[-1] == captions[-1] and len(fields) > len(columns):
            fields[len(columns) - 1 :] = [delimiter.join(fields[len(columns) - 1 :])]
        if len(fields) != len(columns):
            unreadable(
                f"{len(fields)} fields, {len(columns)} columns: put captions with '{delimiter}' in quotes"
            )
            continue
        values = dict(zip(columns, fields, strict=True))
        if not values[image].strip():
            unreadable("no image")
            continue
        texts = tuple(values[column] for column in captions)
        yield Row(values[image].strip(), texts, values[split].strip() if split else "")


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
