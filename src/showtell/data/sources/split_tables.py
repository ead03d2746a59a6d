"""A folder with a table of captions, or one per split, and images in folders beside it, as of ROCOv2.

    train_captions.csv      ID,Caption
                            ROCOv2_2023_train_000001,Head CT showing ...
    train/ROCOv2_2023_train_000001.jpg

Of several tables, those whose name has no split are left out, with a note. A column ``id`` gives the names of the
images if there is no other column for them; the suffix may be missing.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from showtell.data.sources.base import Problem, Source
from showtell.data.sources.columns import Columns
from showtell.data.sources.files import first_line
from showtell.data.sources.locate import find_files, locate, one_set, set_root, split_of
from showtell.data.sources.table import USUAL, find_header, group_rows, read_csv, read_jsonl
from showtell.system.reading import parse_json

LAYOUT = "a folder with a .csv, .tsv, .txt or .jsonl of image (or id) and caption, or one per split, and the images"
MISSING = "no .csv, .tsv, .txt or .jsonl with columns of image and caption"
SUFFIXES = (".csv", ".tsv", ".jsonl", ".txt")


def find(path: Path, *, forced: bool, columns: Columns = USUAL) -> list[Path]:
    def split(file: Path) -> str | None:
        header = list(_header(file, columns))
        has_both = columns.find_image(header) and columns.find_captions(header)
        return split_of(file, path) if has_both else None

    return list(find_files(path, SUFFIXES, split, depth=2))


def _header(file: Path, columns: Columns) -> Iterable[str]:
    line = first_line(file)
    if file.suffix.lower() != ".jsonl":
        found = find_header(line, columns)
        return found[1] if found else ()
    try:
        record = parse_json(line, lenient=True)
    except ValueError:
        return ()
    return record if isinstance(record, dict) else ()


def read(path: Path, files: list[Path], images: Path | None = None, columns: Columns = USUAL) -> Source:
    root, problems = set_root(path), list[Problem]()
    folder, found = images or root, files
    files = [file for file in found if split_of(file, root)] or found
    # A single table is no split.
    splits = {file: split_of(file, root) if len(files) > 1 else "" for file in files}
    if len(set(splits.values())) < len(files):
        one_set(files, root)
    rows = (
        replace(row, split=row.split or split)
        for file, split in splits.items()
        for row in (read_jsonl if file.suffix.lower() == ".jsonl" else read_csv)(
            file, problems, file.relative_to(root).as_posix(), columns
        )
    )
    source = group_rows(rows, folder, problems)
    source.notes += [f"{file} was left out: no split in its name" for file in found if file not in files]
    return locate(source, files[0], folder)
