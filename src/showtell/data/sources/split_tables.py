"""CSV or TSV with a table per split, and images in folders beside them: ROCOv2, and many sets of one's own.

    train_captions.csv      ID,Caption
                            ROCOv2_2023_train_000001,Head CT showing ...
    train/ROCOv2_2023_train_000001.jpg

A column ``id`` gives the names of the images if there is no other column for them; the suffix may be missing.
"""

from dataclasses import replace
from pathlib import Path

from showtell.data.sources.base import Problem, Source
from showtell.data.sources.columns import IMAGE_COLUMNS, Columns
from showtell.data.sources.files import first_line
from showtell.data.sources.locate import find_files, locate, one_set, set_root, split_of
from showtell.data.sources.table import group_rows, read_csv

LAYOUT = "a folder with a .csv or .tsv of image (or id) and caption per split, and the images"
MISSING = "no .csv or .tsv with columns of image and caption and the name of a split"
COLUMNS = Columns(image_names=(*IMAGE_COLUMNS, "id"))
SUFFIXES = (".csv", ".tsv")


def find(path: Path, *, forced: bool) -> list[Path]:
    return list(find_files(path, SUFFIXES, lambda file: _matches(file, path), depth=1))


def _matches(file: Path, path: Path) -> bool | None:
    header = first_line(file).replace('"', "").replace("\t", ",").replace(";", ",").split(",")
    has_columns = COLUMNS.find_image(header) and COLUMNS.find_captions(header)
    return True if has_columns and split_of(file, path) else None


def read(path: Path, files: list[Path], images: Path | None = None) -> Source:
    root, problems = set_root(path), list[Problem]()
    folder = images or root
    # A single table is no split.
    splits = {file: split_of(file, root) if len(files) > 1 else "" for file in one_set(files, root)}
    rows = (
        replace(row, split=row.split or split)
        for file, split in splits.items()
        for row in read_csv(file, problems, file.relative_to(root).as_posix(), COLUMNS)
    )
    return locate(group_rows(rows, folder, problems), files[0], folder)
