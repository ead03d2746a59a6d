"""Lists image files: paths as they are, folders as their images in natural order."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from showtell.images.formats import IMAGE_SUFFIXES, OTHER_SUFFIXES
from showtell.images.signatures import identify
from showtell.system.disk_store import DiskList, sort_texts, to_bytes

_SHOWN = 6  # suffixes of files that are left out
_HEAD = 4096  # bytes of a file of unknown suffix


def list_images(
    paths: Iterable[Path], *, recursive: bool = False, left_out: Counter[str] | None = None
) -> tuple[DiskList[Path], list[str]]:
    """Return files as they are and folders as their images (in natural order), and the problems.

    Images are known by their suffix, including those of formats that are not read, so that loading reports them; by
    their first bytes if the suffix is unknown. Others, except hidden ones, are counted in ``left_out`` by suffix.
    A path that is not a folder is taken for an image, so that loading it reports the error.
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
            others: Counter[str] = Counter()
            inside = _path_list(_images_of(path, recursive, others))
        except OSError as error:
            problems.append(f"cannot read {path}: found {error.strerror}")
            continue
        if not inside:
            hint = "" if recursive else ". Add --recursive for the images of its folders"
            names = f" ({describe_suffixes(others)})" if others else ""
            problems.append(f"cannot read {path}: found a folder without images{names}{hint}")
        if left_out is not None:
            left_out.update(others)
        for image in inside:
            found.add(image)
    return found, problems


def describe_suffixes(counts: Counter[str]) -> str:
    """Return the most frequent suffixes with their counts, as in ``3 MOV, 1 TXT``."""
    texts = [f"{count} {name or 'without a suffix'}" for name, count in counts.most_common(_SHOWN)]
    if hidden := sum(count for _, count in counts.most_common()[_SHOWN:]):
        texts.append(f"{hidden} others")
    return ", ".join(texts)


def _path_list(paths: Iterable[Path] = ()) -> DiskList[Path]:
    return DiskList(paths, pack=str, unpack=Path)


def _images_of(folder: Path, recursive: bool, others: Counter[str]) -> Iterator[Path]:
    names = _names(folder, recursive, others)
    for name in sort_texts(names, lambda name: natural_key(name.removesuffix("/"))):
        if name.endswith("/"):
            yield from _images_of(folder / name, recursive, others)
        else:
            yield folder / name


def _names(folder: Path, recursive: bool, others: Counter[str]) -> Iterator[str]:
    """Yield the names of images and, if recursive, those of folders with a slash at the end; count other files."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                if recursive and not entry.is_symlink():
                    yield f"{entry.name}/"
            elif _is_image(entry):
                yield entry.name
            else:
                others[Path(entry.name).suffix[1:].upper()] += 1


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, or into a closed folder
        return False


def _is_image(entry: os.DirEntry[str]) -> bool:
    name = entry.name.lower()
    if name.endswith(IMAGE_SUFFIXES):
        return True
    if name.endswith(OTHER_SUFFIXES):
        return False
    try:
        if not entry.is_file():
            return False
        with Path(entry).open("rb") as file:
            return bool(identify(file.read(_HEAD)).pillow)
    except OSError:  # not readable: nothing says that it is an image
        return False


def natural_key(name: str) -> bytes:
    """Return a sort key that puts ``photo2`` before ``photo10``.

    Texts end in a byte lower than any in a name; a number is its digit count, then its digits without leading zeros.
    """
    parts = re.split(r"([0-9]+)", name.casefold())
    numbers = [part.lstrip("0").encode() for part in parts[1::2]]
    key = to_bytes(parts[0]) + b"\0"
    for number, text in zip(numbers, parts[2::2], strict=True):
        key += (len(number) + 1).to_bytes(2, "big") + number + to_bytes(text) + b"\0"
    return key + b"\0\0" + to_bytes(name)
