"""Captions in JSON of other forms, under any name: entries in a list, in lists by split or category, or by image.

    [{"image": "val2014/1.jpg", "caption": ["A dog.", ...]}, ...]                  LAVIS; AI Challenger with image_id
    {"data": [{"image_path": "train/1.jpg", "caption_str": "A sign."}, ...]}       TextCaps, an entry per caption
    {"train": [{"image_path": ["1/0.png", "1/1.png"], "report": "..."}, ...]}      IU X-ray of R2Gen
    {"airport": [{"filename": "1.jpg", "split": "train", "raw": "...", "raw_1": "..."}, ...]}      NWPU-Captions
    {"1.jpg": ["A dog.", "A brown dog."], ...}

A split is that of the entry, else of its list, else of the file's name. Of several images of an entry, the first is
read: in reports of chest radiographs it is the frontal view, as a rule.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from showtell.data.sources.base import SPLIT_NAMES, Problem, Source, parse_records
from showtell.data.sources.columns import (
    SPLIT_COLUMNS,
    Columns,
    as_list,
    caption_texts,
    find_column,
)
from showtell.data.sources.files import is_image
from showtell.data.sources.locate import (
    TEXT_FOLDERS,
    find_files,
    folders_below,
    locate,
    names_on_disk,
    one_set,
    set_root,
    split_of,
)
from showtell.data.sources.table import USUAL, Row, group_rows
from showtell.system.json_stream import outline, read_entries

LAYOUT = (
    "a JSON file with a list of entries of image and caption (or captions), lists of them by split or category, or "
    "captions by image name; or a folder with one per split"
)
MISSING = "no JSON file with entries of image and caption"
CAPTIONS = ("caption_str", "reference_strs")
NUMBERED = re.compile(r"raw(?:_\d+)?")
METADATA = ("info", "licenses", "license", "metadata", "version", "description")


def find(path: Path, *, forced: bool, columns: Columns = USUAL) -> list[Path]:
    if path.is_file():
        return [path] if forced or has_captions(path, columns) else []
    found = find_files(path, ".json", lambda file: has_captions(file, columns), depth=1)
    return list(found) if any(found.values()) else []


def read(path: Path, files: list[Path], images: Path | None = None, columns: Columns = USUAL) -> Source:
    root, problems = set_root(path), list[Problem]()
    folder = images or root
    one_set([file for file in files if has_captions(file, columns)], root)
    categories: dict[str, list[Path]] = {}
    for below in folders_below(folder):
        if below.name not in (*SPLIT_NAMES, *TEXT_FOLDERS):
            categories.setdefault(below.name, []).append(below)
    rows = (row for file in files for row in _rows(file, split_of(file, root), categories, problems, columns))
    return locate(group_rows(rows, folder, problems), files[0], folder)


def has_captions(file: Path, columns: Columns = USUAL) -> bool | None:
    """Return whether a file has entries with captions; None: no entries of images."""
    for key, entry in outline(file).items():
        if _is_metadata(key, entry):
            continue
        try:
            _row(key, entry, columns)
        except ValueError:
            continue
        return isinstance(entry, str) or bool(caption_columns(entry, columns))
    return None


def _rows(
    file: Path, split: str, categories: dict[str, list[Path]], problems: list[Problem], columns: Columns
) -> Iterator[Row]:
    numbers = Counter[str]()
    by_image = any(is_image(key) and isinstance(entry, str) for key, entry in outline(file).items())
    lists = set[str]()  # keys with entries of images

    def records() -> Iterator[tuple[str, tuple[str, Any]]]:
        for key, entry in read_entries(file):
            if isinstance(entry, dict) and not is_image(key):
                lists.add(key)
            is_entry = key in lists or (by_image and isinstance(entry, str))
            if not _is_metadata(key, entry) or (is_entry and key not in METADATA):
                yield f"{file.name}: {key}[{numbers[key]}]", (key, entry)
            numbers[key] += 1

    def parse(record: tuple[str, Any]) -> Row:
        key, entry = record
        row = _row("" if key in lists else key, entry, columns)
        image = _with_category(row.image, key, categories)
        return replace(row, image=image, split=row.split or (key if key.lower() in SPLIT_NAMES else split))

    return parse_records(records(), parse, problems)


def _with_category(image: str, key: str, categories: dict[str, list[Path]]) -> str:
    """Return the name of an image of the list ``key`` below a folder of that name, unless it has its folder."""
    folders = PurePosixPath(image.replace("\\", "/")).parts[:-1]
    if key in folders or key not in categories:
        return image
    names = names_on_disk(image, unique=False) if folders else ()
    exists = any((place / name).is_file() for place in categories[key] for name in names)
    return f"{key}/{image}" if exists or not folders else image


def _is_metadata(key: str, entry: Any) -> bool:
    """Return whether a value of the top-level object, or an element of its list ``key``, is no entry of an image."""
    if isinstance(entry, dict):
        return key in METADATA
    return bool(key) and not is_image(key)


def _row(key: str, entry: Any, columns: Columns) -> Row:
    """Return the row of an entry of the list ``key``; without captions if it has no column of captions."""
    if isinstance(entry, str) and key:
        return Row(key, (entry,))
    if not isinstance(entry, dict):
        raise ValueError(f"expected an object, found {type(entry).__name__}")
    image, split = columns.find_image(entry), find_column(entry, SPLIT_COLUMNS)
    names = as_list(entry[image]) if image else [key] * is_image(key)
    if not names or not isinstance(names[0], str) or not names[0].strip():
        raise ValueError(f"no image ({columns.image or ', '.join(columns.image_names)})")
    captions = caption_columns(entry, columns)
    texts = caption_texts(entry, captions) if captions else ()
    return Row(names[0].strip(), texts, str(entry[split] or "").strip() if split else "", len(names) > 1)


def caption_columns(entry: dict[str, Any], columns: Columns = USUAL) -> list[str]:
    """Return the columns of an entry that have captions: those that the user names, else those of known names."""
    if columns.caption:
        return columns.find_captions(entry)
    known = find_column(entry, CAPTIONS)
    return [known] if known else columns.find_captions(entry) or list(filter(NUMBERED.fullmatch, entry))
