"""Hugging Face's ``imagefolder``: pictures beside ``metadata.jsonl`` (``.csv``, ``.parquet``), a folder per split.

    train/metadata.jsonl     {"file_name": "0001.jpg", "text": "A dog runs."}
    train/0001.jpg
    validation/metadata.jsonl ...

A folder may lie deeper (``data/train/``), hold pictures in folders of its own, or stand alone without a split.
A row's own split counts before its folder's; where all pictures lie in one split's folder, the set has no split.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from showtell.data.sources import csv_table, jsonl
from showtell.data.sources.base import SPLIT_NAMES, Problem, Source, is_image
from showtell.data.sources.image_index import files_below
from showtell.data.sources.table import Row, group_rows, record_row
from showtell.errors import DataError
from showtell.system.disk_store import text_list

LOOKS = "a folder with metadata.jsonl (or .csv, .parquet) beside its pictures, or folders train/, ... with one each"
METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")


def matches(path: Path) -> bool:
    """Tell whether there is metadata here or in a split's folder."""
    return bool(_tables(path))


def read(path: Path) -> Source:
    """Read the folder; keys are paths relative to it.

    Raises:
        DataError: there is no metadata, two kinds in one folder, or one has no image and caption columns.
    """
    tables = _tables(path)
    if not tables:
        found = f"no {METADATA[0]} here, nor in a folder train/, validation/ or test/"
        raise DataError(
            f"cannot read {path} as imagefolder", found=found, expected=LOOKS, mend="Check the path"
        )
    problems: list[Problem] = []
    # Read twice, for the first row's split may hang on the last one's; that costs less than holding all of them.
    seen = {(row.split, _split_folder(row.image)) for table in tables for row in _rows(table, path, [])}
    folders = {folder for _, folder in seen}
    rows = (row for table in tables for row in _rows(table, path, problems))
    notes = []
    if len(folders) == 1 and not any(split for split, _ in seen):
        notes = [f"all pictures lie in {folder}/, which is no split" for folder in folders if folder]
    else:
        rows = (replace(row, split=row.split or _split_folder(row.image)) for row in rows)
    source = group_rows(rows, problems, root=path, name="imagefolder")
    source.notes.extend(notes)
    known = text_list(example.key for example in source.examples)
    problems += [
        Problem("no-captions", key, "in no metadata file")
        for key in (file.relative_to(path).as_posix() for file in files_below(path) if is_image(file.name))
        if known.find(key) is None
    ]
    return source


def _tables(path: Path) -> list[Path]:
    """Return the metadata files: here, in the folders of splits, and in those a folder deeper."""
    folders = [path, *(folder for depth in ("*", "*/*") for folder in sorted(path.glob(depth)))]
    tables = []
    for folder in folders:
        if folder != path and folder.name.lower() not in SPLIT_NAMES:
            continue
        here = [folder / name for name in METADATA if (folder / name).is_file()]
        if len(here) > 1:
            found = ", ".join(file.name for file in here)
            raise DataError(f"{folder} has metadata twice", found=found, mend="Keep one of them")
        tables += here
    return tables


def _rows(table: Path, root: Path, problems: list[Problem]) -> Iterator[Row]:
    """Yield a metadata file's rows, their pictures as paths relative to ``root``."""
    name = table.relative_to(root).as_posix()
    read_rows = {".jsonl": jsonl.read_rows, ".csv": csv_table.read_rows, ".parquet": _parquet_rows}
    folder = PurePosixPath(name).parent
    for row in read_rows[table.suffix](table, problems, name):
        yield replace(row, image=str(folder / row.image))


def _parquet_rows(table: Path, problems: list[Problem], name: str) -> Iterator[Row]:
    try:
        with pq.ParquetFile(table) as file:
            records = (record for batch in file.iter_batches() for record in batch.to_pylist())
            for number, record in enumerate(records, start=1):
                row = record_row(record)
                if isinstance(row, Row):
                    yield row
                else:
                    problems.append(Problem("unreadable-line", f"{name}:{number}", row))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot read {table}", found=str(error), mend="Download it again") from error


def _split_folder(image: str) -> str:
    """Return the folder on the way to a picture that is named like a split, or nothing."""
    return next((part for part in PurePosixPath(image).parent.parts if part.lower() in SPLIT_NAMES), "")
