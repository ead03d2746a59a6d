"""Hugging Face's ``imagefolder``: images beside ``metadata.jsonl`` (``.csv``, ``.parquet``), a folder per split.

    train/metadata.jsonl     {"file_name": "0001.jpg", "text": "A dog runs."}
    train/0001.jpg
    validation/metadata.jsonl ...

Split folders may be one level deeper (``data/train/``) and contain subfolders; there may be no split. A row's own
split overrides its folder's; if all images are in one split's folder, the dataset has no split.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from showtell.data.sources.base import SPLIT_NAMES, Problem, Source
from showtell.data.sources.columns import IMAGE_COLUMNS, Columns
from showtell.data.sources.files import files_below, report_unmentioned
from showtell.data.sources.locate import folders_below
from showtell.data.sources.table import USUAL, Row, group_rows, read_csv, read_jsonl, read_parquet
from showtell.errors import DataError
from showtell.system.disk_store import DiskList

LAYOUT = (
    "a folder with metadata.jsonl (or .csv, .parquet) beside its images, or folders train/, ... with one each"
)
METADATA = {"metadata.jsonl": read_jsonl, "metadata.csv": read_csv, "metadata.parquet": read_parquet}
MISSING = "no metadata.jsonl here, nor in a folder train/, validation/ or test/"


def find(path: Path, *, forced: bool) -> list[Path]:
    """Return the metadata files here, in split folders, and in those one level deeper."""
    tables = []
    for folder in folders_below(path, 2, most=sys.maxsize) if path.is_dir() else ():
        if folder != path and folder.name.lower() not in SPLIT_NAMES:
            continue
        found = [folder / name for name in METADATA if (folder / name).is_file()]
        if len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise DataError(f"{folder} has several metadata files", found=names, mend="Keep one of them")
        tables += found
    return tables


def read(path: Path, files: list[Path], columns: Columns = USUAL) -> Source:
    """Read the folder; keys are paths relative to it."""
    columns = replace(columns, image_names=("file_name", *IMAGE_COLUMNS))
    problems: list[Problem] = []
    # Two passes, since the first row's split may depend on the last row; that is cheaper than holding all rows.
    splits = {(row.split, split_folder(row.image)) for row in _rows(files, path, [], columns, Counter())}
    folders = {folder for _, folder in splits}
    rows = _rows(files, path, problems, columns, left_out := Counter[str]())
    notes = []
    if len(folders) == 1 and not any(split for split, _ in splits):
        notes = [f"all images are in {folder}/, which is not used as a split" for folder in folders if folder]
    else:
        rows = (replace(row, split=row.split or split_folder(row.image)) for row in rows)
    source = group_rows(rows, path, problems)
    source.notes += notes
    source.notes += [
        f"{count:,} rows of {name} were left out: a metadata file nearer to the image describes it"
        for name, count in left_out.items()
    ]
    report_unmentioned(files_below(path), path, source, "in no metadata file")
    return source


def _rows(
    tables: list[Path], root: Path, problems: list[Problem], columns: Columns, left_out: Counter[str]
) -> Iterator[Row]:
    """Yield the rows of metadata files, with image paths relative to ``root``.

    Of an image that several files describe, those of the file nearest to it.
    """
    nearest = DiskList[tuple[str, str]](pack=list, unpack=tuple, key=lambda pair: pair[0])
    for table in sorted(tables, key=lambda table: -len(table.parts)):
        name = table.relative_to(root).as_posix()
        for row in METADATA[table.name](table, problems, name, columns):
            image = str(PurePosixPath(name).parent / row.image)
            nearer = nearest.add((image, name))
            if nearer is None or nearer[1] == name:
                yield replace(row, image=image)
            else:
                left_out[name] += 1


def split_folder(image: str) -> str:
    """Return the first folder of an image's path with the name of a split, or an empty text."""
    return next((part for part in PurePosixPath(image).parent.parts if part.lower() in SPLIT_NAMES), "")
