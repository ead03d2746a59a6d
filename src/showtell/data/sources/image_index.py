"""Where the pictures of a set lie: everybody unpacks them into a folder of another name."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from showtell.data.sources.base import is_image
from showtell.errors import DataError
from showtell.system.disk_store import external_sort, to_bytes

FLICKR8K_FOLDERS = (
    "Flicker8k_Dataset",
    "Flickr8k_Dataset/Flicker8k_Dataset",
    "Flickr8k_Dataset",
    "Images",
    "images",
)
FLICKR30K_FOLDERS = (
    "flickr30k-images",
    "flickr30k_images",
    "flickr30k_images/flickr30k_images",
    "Images",
    "images",
    ".",
)


def find_images(path: Path, folders: Sequence[str]) -> Path:
    """Return the first of ``folders`` that has pictures in it, else the first that is there.

    Raises:
        DataError: none is.
    """
    there = [path / folder for folder in folders if (path / folder).is_dir()]
    with_pictures = (folder for folder in there if any(is_image(name) for name in _names(folder)))
    named = (folder for folder in there if folder != path)
    found = next(with_pictures, None) or next(named, None)
    if found is None:
        raise DataError(
            f"no folder of photographs in {path}",
            expected=f"one of {', '.join(folders)}",
            mend="Unpack the photographs there, or link the folder",
        )
    return found


def files_below(folder: Path) -> Iterator[Path]:
    """Yield files at any depth in a fixed order, hidden ones and macOS's shadow folder left out.

    Those of a folder come before those of its folders. What cannot be listed is passed over, like ``os.walk``, which
    would hold all names of a folder.
    """
    folders: list[str] = []

    def names() -> Iterator[str]:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if not _is_folder(entry):
                    yield entry.name
                elif entry.name != "__MACOSX" and not entry.is_symlink():
                    folders.append(entry.name)

    with contextlib.suppress(OSError):
        yield from (folder / name for name in external_sort(names(), to_bytes))
    for name in sorted(folders):
        yield from files_below(folder / name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _names(folder: Path) -> Iterable[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name


class ImageIndex:
    """Finds pictures one by one, where a set's pictures may lie in several folders under several names.

    Args:
        folders: Where to look; those that are not there do not matter.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = [str(folder) for folder in dict.fromkeys(folders) if folder.is_dir()]
        self.found = 0

    def find(self, names: Sequence[str]) -> Path:
        """Return the first file there is, names before folders; else where it should have been."""
        for place, folder in enumerate(self._folders):
            for name in names:
                path = os.path.join(folder, name)  # noqa: PTH118 - a hundred thousand times
                if os.path.isfile(path):  # noqa: PTH113
                    self.found += 1
                    # The next one most likely lies beside it.
                    self._folders.insert(0, self._folders.pop(place))
                    return Path(path)
        return Path(self._folders[0] if self._folders else ".", names[0])
