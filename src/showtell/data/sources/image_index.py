"""Finding the images of a dataset: archives are unpacked under many folder names."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from showtell.data.sources.base import is_image
from showtell.errors import DataError

FLICKR8K_FOLDERS = (
    *("Flicker8k_Dataset", "Flickr8k_Dataset/Flicker8k_Dataset", "Flickr8k_Dataset"),
    *("Images", "images"),
)
FLICKR30K_FOLDERS = (
    *("flickr30k-images", "flickr30k_images", "flickr30k_images/flickr30k_images"),
    *("Images", "images", "."),
)


def find_images(path: Path, folders: Sequence[str]) -> Path:
    """Return the first of ``folders`` that contains images, else the first that exists.

    Raises:
        DataError: none exists.
    """
    existing = [path / folder for folder in folders if (path / folder).is_dir()]
    with_images = (folder for folder in existing if any(is_image(file.name) for file in folder.iterdir()))
    found = next(with_images, None) or next((folder for folder in existing if folder != path), None)
    if found is None:
        raise DataError(
            f"no image folder in {path}",
            expected=f"one of {', '.join(folders)}",
            mend="Unpack the images there, or link the folder",
        )
    return found


def files_below(folder: Path) -> Iterator[Path]:
    """Yield files at any depth in a fixed order, without hidden ones and macOS's shadow folder.

    The files of a folder come before those of its subfolders. Unreadable folders are skipped, as by ``os.walk``.
    """
    for path, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        yield from (Path(path, name) for name in sorted(names) if not name.startswith("."))


class ImageIndex:
    """Finds images whose dataset may be spread over several folders.

    Args:
        folders: Folders to search; missing ones are ignored.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = [str(folder) for folder in dict.fromkeys(folders) if folder.is_dir()]
        self.found = 0

    def find(self, names: Sequence[str]) -> Path:
        """Return the first existing file (names before folders), else its most likely path."""
        for place, folder in enumerate(self._folders):
            for name in names:
                path = os.path.join(folder, name)  # noqa: PTH118 - a hundred thousand times
                if os.path.isfile(path):  # noqa: PTH113
                    self.found += 1
                    # The next image is most likely in the same folder.
                    self._folders.insert(0, self._folders.pop(place))
                    return Path(path)
        return Path(self._folders[0] if self._folders else ".", names[0])
