"""Hugging Face's ``imagefolder``: images beside ``metadata.jsonl`` (``.csv``, ``.parquet``), a folder per split.

    train/metadata.jsonl     {"file_name": "0001.jpg", "text": "A dog runs."}
    train/0001.jpg
    validation/metadata.jsonl ...

Split folders may be one level deeper (``data/train/``) and contain subfolders; there may be no split. A row's own
split overrides its folder's; if all images are in one split's folder, the dataset has no split.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from showtell.data.sources import csv_table, jsonl
from showtell.data.sources.base import SPLIT_NAMES, Problem, Source, is_image, not_a
from showtell.data.sources.image_index import files_below
from showtell.data.sources.table import Row, group_rows, record_row
from showtell.errors import DataError
from showtell.system.disk_store import text_list

LAYOUT = (
    "a folder with metadata.jsonl (or .csv, .parquet) beside its images, or folders train/, ... with one each"
)
METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")


def matches(path: Path) -> bool:
    """Return whether there is metadata here or in a split's folder."""
    return bool(_tables(path))


def read(path: Path) -> Source:
    """Read the folder; keys are paths relative to it."""
    tables = _tables(path)
    if not tables:
        found = f"no {METADATA[0]} here, nor in a folder train/, validation/ or test/"
        raise not_a("imagefolder", path, found, LAYOUT)
    problems: list[Problem] = []
    # Two passes, since the first row's split may depend on the last row; that is cheaper than holding all rows.
    splits = {(row.split, _split_folder(row.image)) for table in tables for row in _rows(table, path, [])}
    folders = {folder for _, folder in splits}
    rows = (row for table in tables for row in _rows(table, path, problems))
    notes = []
    if len(folders) == 1 and not any(split for split, _ in splits):
        notes = [f"all images are in {folder}/, which is not used as a split" for folder in folders if folder]
    else:
        rows = (replace(row, split=row.split or _split_folder(row.image)) for row in rows)
    source = group_rows(rows, problems, root=path, name="imagefolder")
    source.notes.extend(notes)
    known = text_list(example.key for example in source.examples)
    for file in filter(lambda file: is_image(file.name), files_below(path)):
        key = file.relative_to(path).as_posix()
        if known.find(key) is None:
            problems.append(Problem("no-captions", key, "in no metadata file"))
    return source


def _tables(path: Path) -> list[Path]:
    """Return the metadata files here, in split folders, and in those one level deeper."""
    folders = [path, *(folder for depth in ("*", "*/*") for folder in sorted(path.glob(depth)))]
    tables = []
    for folder in folders:
        if folder != path and folder.name.lower() not in SPLIT_NAMES:
            continue
        found = [folder / name for name in METADATA if (folder / name).is_file()]
        if len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise DataError(f"{folder} has several metadata files", found=names, mend="Keep one of them")
        tables += found
    return tables


def _rows(table: Path, root: Path, problems: list[Problem]) -> Iterator[Row]:
    """Yield the rows of a metadata file, with image paths relative to ``root``."""
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
    """Return the first folder of an image's path with the name of a split, or an empty text."""
    return next((part for part in PurePosixPath(image).parent.parts if part.lower() in SPLIT_NAMES), "")
