"""Tables of (image, caption[, split]) in CSV, JSON lines and Parquet: column names, and rows grouped by image.

The functions that read a file name it ``name`` in problems, and raise a DataError if it cannot be read at all.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from showtell.data.sources.base import Example, Problem, examples_on_disk, parse_records
from showtell.data.sources.files import filled_lines
from showtell.errors import DataError
from showtell.system.atomic import text_lines
from showtell.system.disk_store import DiskList

IMAGE_COLUMNS = ("image", "file_name", "filename", "image_path", "image_name", "path", "file")
CAPTION_COLUMNS = (
    *("caption", "captions", "text", "texts", "sentence", "sentences"),
    *("description", "alt_text", "txt"),
)
SPLIT_COLUMNS = ("split", "subset")
_NUMBERED = re.compile(r"(?:caption|text|sentence)_?\d+")
_DELIMITERS = ",\t;|"


@dataclass(frozen=True)
class Row:
    """A row of a table: image path as written, captions, split or an empty text."""

    image: str
    captions: tuple[str, ...]
    split: str = ""


def group_rows(rows: Iterable[Row], root: Path) -> DiskList[Example]:
    """Group captions by image and split, in order of first appearance; paths are relative to ``root``."""
    examples = examples_on_disk(key=lambda example: f"{example.split}\0{example.key}")
    # Rows of an image are mostly consecutive.
    for (image, split), group in groupby(rows, key=lambda row: (row.image, row.split)):
        key, captions = str(PurePosixPath(image)), tuple(text for row in group for text in row.captions)
        example = Example(key, root / key, captions, split)
        earlier = examples.add(example)
        if earlier is not None:
            examples.replace(replace(example, captions=earlier.captions + captions))
    return examples


def read_csv(table: Path, problems: list[Problem], name: str) -> Iterator[Row]:
    """Yield the rows of a CSV file, whose header determines columns and delimiter."""
    lines = text_lines(table, newline="")
    first = next(lines, "")
    delimiter, columns = _header(table, first.rstrip("\r\n"))
    image, captions = str(find_column(columns, IMAGE_COLUMNS)), find_captions(columns)
    split = find_column(columns, SPLIT_COLUMNS)

    def parse(fields: list[str]) -> Row:
        last = len(columns) - 1
        if columns[last] == captions[-1] and len(fields) > len(columns):
            fields[last:] = [delimiter.join(fields[last:])]
        if len(fields) != len(columns):
            counts = f"{len(fields)} fields, {len(columns)} columns"
            raise ValueError(f"{counts}: put captions with '{delimiter}' in quotes")
        values = dict(zip(columns, fields, strict=True))
        if not values[image].strip():
            raise ValueError("no image")
        texts = tuple(values[column] for column in captions)
        return Row(values[image].strip(), texts, values[split].strip() if split else "")

    records = csv_records(chain([first], lines), problems, name, delimiter)
    if next(records, None) is None:
        raise DataError(f"cannot read {table}", found="a header with an open quote", mend="Close it")
    return parse_records(records, parse, problems)


def csv_records(
    lines: Iterable[str], problems: list[Problem], name: str, delimiter: str = ","
) -> Iterator[tuple[str, list[str]]]:
    """Yield ``name:line`` and fields of the rows of a CSV file that are not empty."""
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problems.append(Problem("unreadable-line", f"{name}:{reader.line_num}", str(error)))
            continue
        if fields:
            yield f"{name}:{reader.line_num}", fields


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


def read_jsonl(file: Path, problems: list[Problem], name: str) -> Iterator[Row]:
    """Yield the rows of a JSON lines file."""
    return parse_records(filled_lines(file, name), _parse_json, problems)


def _parse_json(line: str) -> Row:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(record, dict):
        raise ValueError(f"expected an object, found {type(record).__name__}")
    return record_row(record)


def read_parquet(table: Path, problems: list[Problem], name: str) -> Iterator[Row]:
    """Yield the rows of a Parquet file."""
    try:
        with pq.ParquetFile(table) as file:
            records = (record for batch in file.iter_batches() for record in batch.to_pylist())
            named = ((f"{name}:{number}", record) for number, record in enumerate(records, start=1))
            yield from parse_records(named, record_row, problems)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot read {table}", found=str(error), mend="Download it again") from error


def find_column(columns: Iterable[str], names: Sequence[str]) -> str | None:
    """Return the column with the first of ``names`` that occurs, ignoring case and surrounding spaces."""
    by_name = {column.strip().lower(): column for column in columns}
    return next((by_name[name] for name in names if name in by_name), None)


def find_captions(columns: Iterable[str]) -> list[str]:
    """Return the caption columns: the first of `CAPTION_COLUMNS`, else caption_0, caption_1, ..."""
    columns = list(columns)
    named = find_column(columns, CAPTION_COLUMNS)
    return [named] if named else [column for column in columns if _NUMBERED.fullmatch(column.strip().lower())]


def record_row(record: dict[str, Any]) -> Row:
    """Return the row of a record by column name; ValueError: it has no image or no captions."""
    image, split = (find_column(record, names) for names in (IMAGE_COLUMNS, SPLIT_COLUMNS))
    if image is None or not isinstance(record[image], str) or not record[image].strip():
        raise ValueError(f"no image ({', '.join(IMAGE_COLUMNS)})")
    name = record[split] if split else None
    return Row(record[image].strip(), caption_texts(record), "" if name is None else str(name).strip())


def caption_texts(record: dict[str, Any]) -> tuple[str, ...]:
    """Return the captions of a record by column name; ValueError: it has none."""
    columns = find_captions(record)
    if not columns:
        raise ValueError(f"no caption ({', '.join(CAPTION_COLUMNS)})")
    texts: list[str] = []
    for column in columns:
        value = record[column]
        if value is None and len(columns) > 1:
            continue
        values = value if isinstance(value, list) else [value]
        # Some datasets keep sentences in Karpathy's format.
        values = [text.get("raw") if isinstance(text, dict) else text for text in values]
        if not all(isinstance(text, str) for text in values):
            raise ValueError(f"{column} is neither text nor a list of texts")
        texts += values
    return tuple(texts)
