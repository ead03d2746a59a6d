"""Locating what belongs to a dataset: its JSON files, their splits, and the images beside them, under any names."""

import os
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TypeVar, cast

import numpy as np

from showtell.data.sources.base import SPLIT_NAMES, Example, Source, examples_on_disk
from showtell.data.sources.files import CONVERTED, ImageIndex
from showtell.errors import DataError
from showtell.images.formats import IMAGE_SUFFIXES

TEXT_FOLDERS = ("annotations", "karpathy", "caption_datasets", "captions", "Flickr8k_text")
"""Folders of annotation files beside the folders of images."""
DEPTH = 4  # of folders that are searched for images
MOST_FOLDERS = 256  # at one depth: more are one per image or study
PROBED = 100  # images of a table, for which the folders beside it are searched
MOST_FILES = 64  # annotation files in a folder: more are one per image
SUFFIXES = (*CONVERTED, ".JPG", ".PNG", ".JPEG")  # tried for names without one
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
    return _last_split((*folders, file.stem))


def _last_split(parts: Sequence[str]) -> str:
    return next(filter(None, map(split_in, reversed(parts))), "")


def folders_below(root: Path, depth: int = DEPTH, *, most: int = MOST_FOLDERS) -> Iterator[Path]:
    """Yield a folder and those below it, level by level; a level of over ``most`` is left out, and hidden ones."""
    level = [root]
    while level:
        yield from level
        depth -= 1
        level = [child for folder in level for child in _subfolders(folder)] if depth >= 0 else []
        level = level if len(level) <= most else []


def _subfolders(folder: Path) -> list[Path]:
    return [folder / name for name in _names(folder, folders=True) if name != "__MACOSX"]


def _names(folder: Path, *, folders: bool) -> list[str]:
    """Return the sorted names of the folders or of the files in a folder; none if it may not be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                entry.name
                for entry in entries
                if entry.is_dir() == folders and not entry.name.startswith(".")
            )
    except PermissionError:
        return []  # a disk's lost+found, for example


def find_files(
    path: Path, suffix: str | tuple[str, ...], matches: Callable[[Path], T | None], *, depth: int
) -> dict[Path, T]:
    """Return the files of a dataset that match, each with the result: those in the nearest folders that have any.

    The folders are the dataset's own with `TEXT_FOLDERS`, then all below. One with a file per image is left out.
    """
    own = [*(path / name for name in TEXT_FOLDERS), path]
    for folders in (own, folders_below(path, depth)) if path.is_dir() else ():
        found = {}
        for folder in folders:
            names = _names(folder, folders=False) if folder.is_dir() else []
            names = [name for name in names if name.lower().endswith(suffix)]
            for file in (folder / name for name in names if len(names) <= MOST_FILES):
                result = matches(file) if file.is_file() else None
                if result is not None:
                    found[file] = result
        if found:
            return found
    return {}


def one_set(files: Iterable[Path], root: Path, *, by_name: bool = False) -> list[Path]:
    """Return the files, whose paths below ``root`` may differ by their split alone, or (``by_name``) their names.

    Raises:
        DataError: they belong to several datasets.
    """
    families: dict[str, list[Path]] = {}
    for file in files:
        name = file.relative_to(root).as_posix() if file.is_relative_to(root) and not by_name else file.name
        families.setdefault(_SPLIT.sub("*", name.lower()), []).append(file)
    if len(families) > 1:
        names = ", ".join(str(file) for family in families.values() for file in family)
        raise DataError(
            f"{root} contains several datasets", found=names, mend="Give one file, or move the others away"
        )
    return [file for family in families.values() for file in family]


def image_index(folder: Path, *, split: str = "", stem: str = "", apart: bool = True) -> ImageIndex:
    """Return an index over a folder and those below it, in which the images of a dataset may be.

    Folders of the ``split`` come first, before them one whose name is in the ``stem`` of the annotation file
    (``train2017``). If there are some, and images of several splits must be kept ``apart``, those of other splits
    are left out.
    """
    wanted = SPLIT_NAMES.get(split.lower(), "")
    ranked = []
    for child in folders_below(folder):
        parts = child.relative_to(folder).parts
        own = SPLIT_NAMES.get(_last_split(parts), "")
        is_named = bool(own) and parts[-1] in stem
        ranked.append((not is_named, 1 if not (own and wanted) else 0 if own == wanted else 2, child))
    ranked.sort(key=lambda entry: entry[:2])
    has_own = any(rank == 0 for _, rank, _ in ranked)
    return ImageIndex(child for _, rank, child in ranked if not (apart and has_own and rank == 2))


def names_on_disk(name: str, *, unique: bool) -> list[str]:
    """Return the names that an image may have below an image folder, the most exact first.

    If the last parts of all names are ``unique``, leading folders may be missing. A name without the suffix of an
    image is tried with each, and another with its suffix in lower and upper case.
    """
    names = list(dict.fromkeys((name, name.replace("\\", "/"))))
    if unique and "/" in names[-1]:
        parts = PurePosixPath(names[-1]).parts
        names += ["/".join(parts[start:]) for start in range(1, len(parts))]
    if not name.lower().endswith(IMAGE_SUFFIXES):
        names += [name + suffix for name in list(names) for suffix in SUFFIXES]
    else:
        stems = [name.rpartition(".") for name in names]
        ends = ((stem, end, other) for stem, _, end in stems for other in (end.lower(), end.upper()))
        names += [f"{stem}.{other}" for stem, end, other in ends if other != end]
    return names


def are_unique(names: Iterable[str]) -> bool:
    """Return whether different paths end in different file names."""
    return _one_to_one((name, name.rpartition("/")[2]) for name in names)


def _one_to_one(pairs: Iterable[tuple[str, str]]) -> bool:
    """Return whether pairs with different first texts have different second texts."""
    hashes = array("q")
    for pair in pairs:
        hashes.extend(map(hash, pair))
    first, second = np.frombuffer(hashes, np.int64).reshape(-1, 2).T
    return len(np.unique(first)) == len(np.unique(second))


def locate(source: Source, file: Path, folder: Path) -> Source:
    """Return a source with the images of its examples, whose keys are names, found below ``folder``.

    If a name is in several splits, keys become paths below ``folder``, since they may be different images. A split
    without any captions is left out, with a note.

    Raises:
        DataError: no image exists, or none has captions; names ``file``.
    """
    examples = cast(Sequence[Example], source.examples)  # rows of texts embed no images
    unique = are_unique(example.key for example in examples)
    apart = not _one_to_one((f"{example.split}\0{example.key}", example.key) for example in examples)
    captioned = {example.split for example in examples if example.captions}
    without = Counter(example.split for example in examples if example.split not in captioned)
    indexes = {split: image_index(folder, split=split, apart=apart, stem=file.stem) for split in captioned}
    prefix = f"{folder}/"

    def find(example: Example) -> Example:
        image = indexes[example.split].find(names_on_disk(example.key, unique=unique))
        return replace(example, image=image, key=str(image).removeprefix(prefix) if apart else example.key)

    located = examples_on_disk(find(example) for example in examples if example.split in captioned)
    if len(located) and not any(index.num_found for index in indexes.values()):
        raise no_image(file, next(example.key for example in located), folder)
    counts = [
        f"{count:,} images without captions were left out" + f" ({split})" * bool(split)
        for split, count in without.items()
    ]
    if counts and not captioned:
        raise DataError(f"{file} has no captions", found="; ".join(counts), mend="Give a file with captions")
    forms = [note for index in indexes.values() for note in index.notes]
    return Source(located, source.problems, [*source.notes, *forms, *counts])


def locate_beside(source: Source, table: Path, folder: Path) -> Source:
    """Return the source of a table: with images relative to ``folder``, or if none is there, in folders below it."""
    examples = cast(Sequence[Example], source.examples)
    if any(example.image.is_file() for example in examples):
        return source
    index = image_index(folder)
    for example in islice(examples, PROBED):
        index.find(names_on_disk(example.key, unique=True))
    return locate(source, table, folder) if index.num_found else source


def no_image(file: Path, name: str, folder: Path) -> DataError:
    """Return the error of an annotation file of whose images none exists below ``folder``."""
    return DataError(
        f"no image of {file} exists",
        expected=f"{name} in {folder} or below it, for example in images/, train2014/ or flickr30k-images/",
        mend="Unpack the images there, link their folder, or pass --images FOLDER",
    )
