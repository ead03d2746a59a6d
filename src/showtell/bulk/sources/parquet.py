"""Rows of Parquet files: ``{"parquet": PATH, "column": ..., "row": ..., "rows": ..., "groups": [FIRST, LAST]}``.

A unit is one or more row groups. Images are bytes, with a path or without, or paths relative to the file. Image N
of a unit is always its row N, so that none is missing where a file is damaged.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from showtell.bulk.sources.embedded import EmbeddedImages, find_image_column
from showtell.bulk.sources.files import load
from showtell.bulk.sources.storage import open_binary
from showtell.bulk.units import UNIT_IMAGES, Failure, UnitImage
from showtell.errors import ConfigError, DataError, ShowtellError, reason

_ERRORS = (OSError, MemoryError, pa.ArrowException, ShowtellError)
_BATCH, _BUFFER = 8, 2**16  # rows, and bytes: pyarrow holds a page of images several times over


def units(table: str, image_column: str) -> Iterator[dict[str, Any]]:
    """Yield the units of a file: of one that cannot be read, a unit of its error.

    Raises:
        ConfigError: there is no column ``image_column``.
    """
    try:
        with _opened(table) as file:
            schema = file.schema_arrow
            embedded = [field.name for field in schema if _has_bytes(field.type)]
            column = find_image_column(table, schema.names, embedded=embedded, wanted=image_column)
            sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        if not sum(sizes):
            raise DataError(f"cannot read {table}", found="no rows")
    except ConfigError:
        raise
    except _ERRORS as error:
        yield {"parquet": table, "rows": 1, "error": _text(table, error)}
        return
    first = row = rows = 0
    for last, size in enumerate(sizes):
        rows += size
        if rows >= UNIT_IMAGES or (rows and last == len(sizes) - 1):
            yield {"parquet": table, "column": column, "row": row, "rows": rows, "groups": [first, last]}
            first, row, rows = last + 1, row + rows, 0


def read(content: dict[str, Any], start: int) -> Iterator[UnitImage]:
    """Yield the images of the rows; where the file is damaged, an error for each row."""
    table = content["parquet"]
    if "error" in content:
        yield from [Failure(table, content["error"])][start:]
        return
    number, end = content["row"] + start, content["row"] + content["rows"]
    try:
        with _opened(table) as file:
            folder = table.rpartition("/")[0] or "."
            names = file.schema_arrow.names
            images = EmbeddedImages(names, content["column"], where=table, folder=folder, load=load)
            for row in _rows(file, content["groups"], images.columns, start):
                yield images.image(row, number)
                number += 1
        failed = f"cannot read {table}: found fewer rows than before"
    except _ERRORS as error:
        failed = _text(table, error)
    for missing in range(number, end):
        yield Failure(f"{table}#{missing}", failed)


@contextmanager
def _opened(table: str) -> Iterator[pq.ParquetFile]:
    with (
        open_binary(table) as content,
        pq.ParquetFile(content, pre_buffer=False, buffer_size=_BUFFER) as file,
    ):
        yield file


def _rows(
    file: pq.ParquetFile, groups: list[int], columns: list[str], start: int
) -> Iterator[dict[str, Any]]:
    for group in range(groups[0], groups[1] + 1):
        size = file.metadata.row_group(group).num_rows
        if start < size:
            for batch in file.iter_batches(_BATCH, row_groups=[group], columns=columns):
                for index in range(min(start, len(batch)), len(batch)):
                    yield batch.slice(index, 1).to_pylist()[0]
                start = max(0, start - len(batch))
        else:
            start -= size


def _has_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _text(table: str, error: Exception) -> str:
    if isinstance(error, ShowtellError):
        return str(error)
    return str(DataError(f"cannot read {table}", found=getattr(error, "strerror", None) or reason(error)))
