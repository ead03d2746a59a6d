"""Lists image files: paths as they are, folders as their images in natural order."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from showtell.images.formats import IMAGE_SUFFIXES
from showtell.system.disk_store import DiskList, to_bytes


def list_images(paths: Iterable[Path], *, recursive: bool = False) -> tuple[DiskList[Path], list[str]]:
    """Return files as they are and folders as their images (by suffix, in natural order), and the problems.

    Hidden files are omitted. A path that is not a folder is taken for an image, so that loading it reports the error.
    The list is on disk: for a folder of a million images it would take hundreds of megabytes.
    """
    found = _path_list()
    problems: list[str] = []
    for path in paths:
        try:
            is_folder = path.is_dir()
        except OSError:  # a name that is too long or a closed folder: loading the image reports it
            is_folder = False
        if not is_folder:
            found.add(path)
            continue
        try:
            # Listed first, so that no image is taken from a folder that cannot be read to its end.
            inside = _path_list(_images_of(path, recursive))
        except OSError as error:
            problems.append(f"cannot read {path}: found {error.strerror}")
            continue
        if not inside:
            hint = "" if recursive else ". Add --recursive for the images of its folders"
            problems.append(f"cannot read {path}: found a folder without images{hint}")
        for image in inside:
            found.add(image)
    return found, problems


def _path_list(paths: Iterable[Path] = ()) -> DiskList[Path]:
    return DiskList(paths, pack=str, unpack=Path)


def _images_of(folder: Path, recursive: bool) -> Iterator[Path]:
    for name in sorted(_names(folder, recursive), key=lambda name: _natural(name.removesuffix("/"))):
        if name.endswith("/"):
            yield from _images_of(folder / name, recursive)
        else:
            yield folder / name


def _names(folder: Path, recursive: bool) -> Iterator[str]:
    """Yield the names of images and, if recursive, those of folders with a slash at the end."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if Path(entry).is_dir() if entry.is_symlink() else entry.is_dir():
                if recursive and not entry.is_symlink():
                    yield f"{entry.name}/"
            elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                yield entry.name


def _natural(name: str) -> bytes:
    """Return a sort key that puts ``photo2`` before ``photo10``.

    Texts end in a byte lower than any in a name; a number is its digit count, then its digits without leading zeros.
    """
    parts = re.split(r"([0-9]+)", name.casefold())
    numbers = [part.lstrip("0").encode() for part in parts[1::2]]
    key = to_bytes(parts[0]) + b"\0"
    for number, text in zip(numbers, parts[2::2], strict=True):
        key += (len(number) + 1).to_bytes(2, "big") + number + to_bytes(text) + b"\0"
    return key + b"\0\0" + to_bytes(name)
