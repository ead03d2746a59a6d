"""Finding the files of a dataset (archives are unpacked under many folder names), and reading lines of text."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path

from showtell.data.sources.base import Problem, Source
from showtell.data.sources.names import NameMatcher
from showtell.errors import DataError
from showtell.images.formats import IMAGE_SUFFIXES
from showtell.system.disk_store import text_list
from showtell.system.reading import open_file, text_encoding, text_lines

FLICKR8K_FOLDERS = (
    *("Flicker8k_Dataset", "Flickr8k_Dataset/Flicker8k_Dataset", "Flickr8k_Dataset"),
    *("Images", "images"),
)
FLICKR30K_FOLDERS = (
    *("flickr30k-images", "flickr30k_images", "flickr30k_images/flickr30k_images"),
    *("Images", "images", "."),
)

CONVERTED = (".jpg", ".png", ".jpeg", ".tif", ".webp")  # tried for an image of which only the suffix differs


def is_image(name: str) -> bool:
    """Return whether a file is an image, by its name."""
    return not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES)


def files_named(path: Path, names: Sequence[str], *, forced: bool) -> list[Path]:
    """Return the files of these relative names in a folder; or a file itself, by its name or if ``forced``."""
    if path.is_file():
        return [path] if forced or path.name in {Path(name).name for name in names} else []
    return [path / name for name in names if (path / name).is_file()]


def find_images(path: Path, folders: Sequence[str]) -> Path:
    """Return the first of ``folders`` (in ``path`` or beside that file) that contains images, else that exists.

    Raises:
        DataError: none exists.
    """
    root = path if path.is_dir() else path.parent
    existing = [root / folder for folder in folders if (root / folder).is_dir()]
    with_images = (folder for folder in existing if any(is_image(file.name) for file in folder.iterdir()))
    found = next(with_images, None) or next((folder for folder in existing if folder != root), None)
    if found is None:
        expected, mend = f"one of {', '.join(folders)}", "Unpack the images there, or link the folder"
        raise DataError(f"no image folder in {root}", expected=expected, mend=mend)
    return found


def walk_folders(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield this folder and those at any depth in a fixed order, with their sorted file names.

    Hidden ones and macOS's shadow folder are passed over, and unreadable folders, as by ``os.walk``. Links to folders
    are followed, each folder once.
    """
    visited = {os.path.realpath(folder)}

    for path, folders, names in os.walk(folder, followlinks=True):
        visible = [name for name in sorted(folders) if not name.startswith(".") and name != "__MACOSX"]
        folders.clear()
        for name in visible:
            place = os.path.realpath(os.path.join(path, name))  # noqa: PTH118 - a hundred thousand times
            if place not in visited:
                visited.add(place)
                folders.append(name)
        yield Path(path), sorted(name for name in names if not name.startswith("."))


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files of `walk_folders`; those of a folder come before those of its subfolders."""
    return (path / name for path, names in walk_folders(folder) for name in names)


def report_unmentioned(files: Iterable[Path], root: Path, source: Source, detail: str) -> None:
    """Add a problem for each image file whose path relative to ``root`` is not the key of an example."""
    keys = text_list(example.key for example in source.examples)
    for file in files:
        key = file.relative_to(root).as_posix()
        if is_image(file.name) and keys.find(key) is None:
            source.problems.append(Problem("no-captions", key, detail))


class ImageIndex:
    """Finds images whose dataset may be spread over several folders; missing folders are ignored.

    The order of the folders is fixed: an image that is missing in one does not move the search for others.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = [str(folder) for folder in dict.fromkeys(folders) if folder.is_dir()]
        self._matcher: NameMatcher | None = None
        self._counts = Counter[str]()  # images by folder, of `_folders`
        self._same: list[str] = []  # files of the first name
        self._converted = 0  # images found by another suffix

    def find(self, names: Sequence[str]) -> Path:
        """Return the first existing file (each name in all folders before the next), else its most likely path."""
        for name, folder in product(names, self._folders):
            path = os.path.join(folder, name)  # noqa: PTH118 - a hundred thousand times
            if os.path.isfile(path):  # noqa: PTH113
                self._same = self._same or self._all(name)
                self._counts[folder] += 1
                return Path(path)
        return (
            self._find_other_form(names)
            or self._find_other_suffix(names)
            or Path(self._main() or ".", names[0])
        )

    def _find_other_form(self, names: Sequence[str]) -> Path | None:
        """Return the first file whose name has another Unicode form, or slashes for backslashes."""
        written = [name for name in names if not name.isascii() or "\\" in name]
        for name, folder in product(written, self._folders):
            self._matcher = self._matcher or NameMatcher()
            other = self._matcher.match(Path(folder), name)
            if other != name:
                self._counts[folder] += 1
                return Path(folder, other)
        return None

    def _find_other_suffix(self, names: Sequence[str]) -> Path | None:
        """Return the first file of the same name with the suffix of another format: images were converted."""
        stems = dict.fromkeys(name.rpartition(".")[0] for name in names if is_image(name))
        for stem, folder, suffix in product(stems, self._folders, CONVERTED):
            path = Path(folder, stem + suffix)
            if path.is_file():
                self._counts[folder] += 1
                self._converted += 1
                return path
        return None

    def _all(self, name: str) -> list[str]:
        """Return the different files of a name, the first one first."""
        paths = (Path(folder, name) for folder in self._folders)
        return list(dict.fromkeys(str(path.resolve()) for path in paths if path.is_file()))

    def _main(self) -> str | None:
        """Return the folder of most images, else the first."""
        return max(self._folders, key=self._counts.__getitem__, default=None)

    @property
    def num_found(self) -> int:
        """How many images were found."""
        return self._counts.total()

    @property
    def notes(self) -> list[str]:
        """Names found in another form, images outside the folder of most others, several files of one name."""
        notes, main = self._matcher.notes if self._matcher else [], self._main()
        # Without a folder of most images they are spread by class or by number.
        others = {folder: count for folder, count in self._counts.items() if folder != main}
        if main and 0 < sum(others.values()) < self._counts[main]:
            where = ", ".join(f"{count:,} in {folder}" for folder, count in others.items())
            notes = [*notes, f"of {self.num_found:,} images, most are in {main}, but {where}"]
        if self._converted:
            notes = [*notes, f"{self._converted:,} names have another suffix than the files, which were read"]
        if len(self._same) > 1:
            notes = [*notes, f"several files fit one name, and the first was read: {', '.join(self._same)}"]
        return notes


def first_line(path: Path) -> str:
    """Return the beginning of the first line with content of a text file of any encoding, for detection."""
    with open_file(path) as file:
        encoding = text_encoding(file.read(2))
    with path.open(encoding=encoding, errors="replace") as text:
        beginnings = iter(lambda: text.readline(1_000), "")
        return next((line for line in beginnings if not is_preamble(line)), "").rstrip("\r\n")


def is_preamble(line: str) -> bool:
    """Return whether a line is none of a table: it is blank, or names the separator for Excel."""
    return not line.strip() or re.fullmatch(r'"?sep=."?\s*', line.lstrip("\ufeff")) is not None


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file (LF, CRLF or CR); other Unicode line separators are text.

    Raises:
        DataError: it is neither UTF-8 nor UTF-16 with a byte order mark.
    """
    for line in text_lines(path, newline=None):
        if "\0" in line:
            raise DataError(
                f"cannot read {path}", found="NUL characters", expected="UTF-8", mend="Save the file as UTF-8"
            )
        yield line.removesuffix("\n")


def filled_lines(path: Path, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield ``file:line`` and text of the lines that are not blank, as records for `parse_records`."""
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            yield f"{name or path.name}:{number}", line
