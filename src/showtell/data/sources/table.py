"""Tables of (image, caption[, split]) in CSV, JSON lines and Parquet, and their rows grouped by image.

The functions that read a file name it ``name`` in problems, and raise a DataError if it cannot be read at all.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from showtell.data.sources.base import (
    Example,
    NotEditedError,
    Problem,
    Source,
    examples_on_disk,
    parse_records,
)
from showtell.data.sources.columns import (
    CAPTION_COLUMNS,
    CHOOSE,
    SPLIT_COLUMNS,
    Columns,
    as_list,
    caption_texts,
    find_column,
)
from showtell.data.sources.csv_dialect import CsvDialect
from showtell.data.sources.files import filled_lines, is_preamble
from showtell.data.sources.names import NameMatcher
from showtell.errors import DataError
from showtell.system.reading import parse_json, text_lines

MACHINE_CAPTION = "machine_caption"
"""The column of the caption that a row corrects, in files of the page of ``serve``; empty or the same if none."""
_DELIMITERS = ",\t;|"
_IN_NAMES = " _-.\"'"  # signs in the names of columns
USUAL = Columns()


@dataclass(frozen=True)
class Row:
    """A row of a table: image path as written, captions, split or an empty text."""

    image: str
    captions: tuple[str, ...]
    split: str = ""
    more_images: bool = False  # the row names several images, of which this is the first
    provenance: tuple[str, ...] = ()  # as in `Example`


def group_rows(rows: Iterable[Row], root: Path, problems: list[Problem]) -> Source:
    """Return images with their captions, by split, in order of first appearance; paths are relative to ``root``."""
    examples = examples_on_disk(key=lambda example: f"{example.split}\0{example.key}")
    matcher, several = NameMatcher(), 0
    # Rows of an image are mostly consecutive.
    for (image, split), group in groupby(rows, key=lambda row: (row.image, row.split)):
        texts: list[str] = []
        provenance: tuple[str, ...] = ()
        for row in group:
            texts += row.captions
            provenance += row.provenance
            several += row.more_images
        key, captions = matcher.match(root, str(PurePosixPath(image))), tuple(texts)
        example = Example(key, root / key, captions, split, provenance)
        earlier = examples.add(example)
        if earlier is not None:
            examples.replace(earlier.joined(example))
    notes = matcher.notes
    if several:
        notes.append(f"{several:,} rows name several images; the first of each was read")
    return Source(examples, problems, notes)


def read_csv(table: Path, problems: list[Problem], name: str, columns: Columns = USUAL) -> Iterator[Row]:
    """Yield the rows of a CSV file, whose header determines columns and delimiter.

    Captions in the last column may contain delimiters; trailing captions of several columns may be missing.
    """
    lines = text_lines(table, newline="")
    first, number = next(lines, ""), 1
    while first and is_preamble(first):
        first, number = next(lines, ""), number + 1
    dialect, header = _header(table, first.rstrip("\r\n"), columns)
    image, captions = header[dialect.image], columns.find_captions(header)
    split = find_column(header, SPLIT_COLUMNS)
    for column in (image, *captions):
        if header.count(column) > 1:
            expected, mend = "a name per column", "Call columns of captions caption_0, caption_1, ..."
            raise DataError(f"{table} has several columns '{column}'", expected=expected, mend=mend)
    dialect = replace(dialect, open_ended=header[-1] == captions[-1], cr_ends_rows=first.endswith("\r"))

    def parse(fields: list[str]) -> Row:
        missing = header[len(fields) :]
        if len(fields) > len(header) or (missing and not set(missing) < set(captions)):
            hint = "some are missing" if len(fields) < len(header) else "put captions in quotes"
            raise ValueError(f"{len(fields)} fields, {len(header)} columns: {hint}")
        return _row(dict(zip(header, fields, strict=False)), image, captions, split)

    records = ((f"{name}:{number}", fields) for number, fields in dialect.rows(lines, number))
    return parse_records(records, parse, problems)


def _header(table: Path, line: str, columns: Columns) -> tuple[CsvDialect, list[str]]:
    """Return the dialect and the columns of a header line."""
    if found := find_header(line, columns):
        return found
    columns.check(longest_header(line), str(table))
    raise DataError(
        f"cannot read {table}",
        found=f"the first line '{line[:80]}'",
        expected=f"a header with {columns.expected}",
        mend=f"Add a header line, for example image,caption,split, or {CHOOSE}",
    )


def find_header(line: str, columns: Columns = USUAL) -> tuple[CsvDialect, list[str]] | None:
    """Return the dialect and the columns of a header line, by its delimiter; None: it is no header."""
    for dialect, header in _headers(line):
        image = columns.find_image(header)
        if image is not None and columns.find_captions(header):
            return replace(dialect, width=len(header), image=header.index(image)), header
    return None


def longest_header(line: str) -> list[str]:
    """Return the columns of a header line by the delimiter that makes most of it, for error messages."""
    return max((header for _, header in _headers(line)), key=len)


def _headers(line: str) -> Iterator[tuple[CsvDialect, list[str]]]:
    """Yield the fields of a line for each delimiter that it may have: the usual ones, then other signs in it."""
    signs = (sign for sign in line if sign.isprintable() and not sign.isalnum() and sign not in _IN_NAMES)
    for delimiter in dict.fromkeys((*_DELIMITERS, *signs)):
        dialect = CsvDialect(delimiter, skip_space=f"{delimiter} " in line)
        yield dialect, dialect.split(line)


def read_jsonl(file: Path, problems: list[Problem], name: str, columns: Columns = USUAL) -> Iterator[Row]:
    """Yield the rows of a JSON lines file."""
    names: dict[str, None] = {}
    is_empty = True

    def parse(line: str) -> Row:
        record = _parse_object(line)
        if is_empty:
            names.update(dict.fromkeys(record))
        return _record_row(record, columns)

    for row in parse_records(filled_lines(file, name), parse, problems):
        is_empty = False
        yield row
    if is_empty and names:
        columns.check(names, str(file))


def _parse_object(line: str) -> dict[str, Any]:
    try:
        record = parse_json(line, lenient=True)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(record, dict):
        raise ValueError(f"expected an object, found {type(record).__name__}")
    return record


def read_parquet(table: Path, problems: list[Problem], name: str, columns: Columns = USUAL) -> Iterator[Row]:
    """Yield the rows of a Parquet file."""
    try:
        with pq.ParquetFile(table) as file:
            columns.check(file.schema_arrow.names, str(table))
            records = (record for batch in file.iter_batches() for record in batch.to_pylist())
            named = ((f"{name}:{number}", record) for number, record in enumerate(records, start=1))
            yield from parse_records(named, lambda record: _record_row(record, columns), problems)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot read {table}", found=str(error), mend="Download it again") from error


def _record_row(record: Mapping[str, Any], columns: Columns) -> Row:
    """Return the row of a record by column name; ValueError: it has no image or no captions."""
    image = columns.find_image(record)
    if image is None:
        raise ValueError(f"no image ({columns.image or ', '.join(columns.image_names)})")
    captions = columns.find_captions(record)
    if not captions:
        raise ValueError(f"no caption ({columns.caption or ', '.join(CAPTION_COLUMNS)})")
    return _row(record, image, captions, find_column(record, SPLIT_COLUMNS))


def _row(record: Mapping[str, Any], image: str, captions: Sequence[str], split: str | None) -> Row:
    names = as_list(record[image])
    if not names or not isinstance(names[0], str) or not names[0].strip():
        raise ValueError(f"no image in '{image}'")
    name = record.get(split) if split else None
    texts = caption_texts(record, captions)
    provenance: tuple[str, ...] = ()
    if MACHINE_CAPTION in record:
        if record[MACHINE_CAPTION] in (None, "", *texts):
            raise NotEditedError
        origin = {key: value for key, value in record.items() if key not in (image, split)}
        provenance = (json.dumps(origin, ensure_ascii=False, default=str),)
    split_name = "" if name is None else str(name).strip()
    return Row(names[0].strip(), texts, split_name, len(names) > 1, provenance)
