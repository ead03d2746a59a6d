"""Locating what belongs to a dataset: its JSON files, their splits, and the images beside them, under any names."""

import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np

from showtell.data.sources.base import SPLIT_NAMES
from showtell.data.sources.files import ImageIndex
from showtell.errors import DataError
from showtell.images.formats import IMAGE_SUFFIXES

TEXT_FOLDERS = ("annotations", "karpathy", "caption_datasets", "captions", "Flickr8k_text")
"""Folders of annotation files beside the folders of images."""
DEPTH = 3  # of folders that are searched for images
MOST_FOLDERS = 64  # at one depth: more are one per image or study
MOST_FILES = 64  # annotation files in a folder: more are one per image
SUFFIXES = (".jpg", ".png", ".jpeg", ".tif", ".webp")  # tried for names without suffix
T = TypeVar("T")
_WORDS = re.compile(r"[a-z]+")
_SPLIT = re.compile(rf"(?<![a-z])(?:{'|'.join(sorted(SPLIT_NAMES, key=len, reverse=True))})(?![a-z])\d*")


def set_root(path: Path) -> Path:
    """Return the folder of a dataset, given it or one of its annotation files."""
    if path.is_dir():
        return path
    parent = path.absolute().parent
    return parent.parent if parent.name in TEXT_FOLDERS else parent


def split_in(text: str) -> str:
    """Return the first word of a text that names a split, or an empty text."""
    return next((word for word in _WORDS.findall(text.lower()) if word in SPLIT_NAMES), "")


def split_of(file: Path, root: Path) -> str:
    """Return the split in the name of a file, else in the nearest of its folders below ``root``."""
    folders = file.parent.relative_to(root).parts if file.is_relative_to(root) else ()
    return next(filter(None, map(split_in, (file.stem, *reversed(folders)))), "")


def folders_below(root: Path, depth: int = DEPTH) -> Iterator[Path]:
    """Yield a folder and those below it, level by level; a level of too many folders is left out, hidden ones too."""
    level = [root]
    while level:
        yield from level
        depth -= 1
        level = [child for folder in level for child in _subfolders(folder)] if depth >= 0 else []
        level = level if len(level) <= MOST_FOLDERS else []


def _subfolders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir()]
    return [folder / name for name in sorted(names) if not name.startswith(".") and name != "__MACOSX"]


def find_files(path: Path, suffix: str, matches: Callable[[Path], T | None], *, depth: int) -> dict[Path, T]:
    """Return the files of a dataset that match, each with the result: those in the nearest folders that have any.

    The folders are the dataset's own with `TEXT_FOLDERS`, then all below. One with a file per image is left out.
    """
    own = [*(path / name for name in TEXT_FOLDERS), path]
    for folders in (own, folders_below(path, depth)) if path.is_dir() else ():
        found = {}
        for folder in folders:
            names = sorted(os.listdir(folder)) if folder.is_dir() else []  # noqa: PTH208 - of many images
            names = [name for name in names if name.lower().endswith(suffix) and not name.startswith(".")]
            for file in (folder / name for name in names if len(names) <= MOST_FILES):
                result = matches(file) if file.is_file() else None
                if result is not None:
                    found[file] = result
        if found:
            return found
    return {}


def one_set(files: Iterable[Path], root: Path) -> list[Path]:
    """Return the files, whose names may differ by their split alone.

    Raises:
        DataError: they belong to several datasets.
    """
    families: dict[str, list[Path]] = {}
    for file in files:
        name = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
        families.setdefault(_SPLIT.sub("*", name.lower()), []).append(file)
    if len(families) > 1:
        names = ", ".join(str(file) for family in families.values() for file in family)
        raise DataError(
            f"{root} contains several datasets", found=names, mend="Give one file, or move the others away"
        )
    return [file for family in families.values() for file in family]


def image_index(root: Path, images: Path | None = None, *, split: str = "", stem: str = "") -> ImageIndex:
    """Return an index over the folders in which the images of a dataset may be: those below ``images`` or ``root``.

    For a file of one ``split``, the folders of that split come first, and those of other splits are not searched if
    there is one; before them comes a folder whose name is in the file's ``stem`` (``train2017``).
    """
    start = images or root
    ranked = []
    for folder in folders_below(start):
        parts = folder.relative_to(start).parts
        own = SPLIT_NAMES.get(next(filter(None, map(split_in, reversed(parts))), ""), "")
        named = bool(parts) and bool(own) and parts[-1] in stem
        ranked.append((not named, {SPLIT_NAMES.get(split, ""): 0, "": 1}.get(own, 2) if split else 1, folder))
    ranked.sort(key=lambda entry: entry[:2])
    has_own = bool(split) and any(rank == 0 for _, rank, _ in ranked)
    return ImageIndex(folder for _, rank, folder in ranked if not (has_own and rank == 2))


def names_on_disk(name: str, *, unique: bool) -> list[str]:
    """Return the names that an image may have below an image folder, the most exact first.

    If the last parts of all names are ``unique``, leading folders may be missing. A name without the suffix of an
    image is tried with each.
    """
    path = PurePosixPath(name)
    names = [name]
    if unique:
        names += [str(PurePosixPath(*path.parts[start:])) for start in range(1, len(path.parts))]
    if "\\" in name:
        names.append(name.replace("\\", "/"))
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        names += [name + suffix for name in list(names) for suffix in SUFFIXES]
    return names


def are_unique(names: Iterable[str]) -> bool:
    """Return whether different paths end in different file names."""
    hashes = array("q")
    for name in names:
        hashes.extend((hash(name), hash(name.rpartition("/")[2])))
    whole, last = np.frombuffer(hashes, np.int64).reshape(-1, 2).T
    return len(np.unique(whole)) == len(np.unique(last))


def no_image(file: Path, name: str, folder: Path) -> DataError:
    """Return the error of an annotation file of whose images none exists below ``folder``."""
    return DataError(
        f"no image of {file} exists",
        expected=f"{name} in {folder} or below it, for example in images/, train2014/ or flickr30k-images/",
        mend="Unpack the images there, link their folder, or pass --images FOLDER",
    )
