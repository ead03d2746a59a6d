"""File names that are written otherwise in a table than on the disk: with backslashes, or in another Unicode form."""

import contextlib
import unicodedata
from collections import Counter
from pathlib import Path, PurePosixPath

from showtell.system.disk_store import DiskList, text_list

BACKSLASHES = "written with backslashes; the names with slashes were read"
UNICODE_FORM = "in another Unicode form than the files, which were read"


class NameMatcher:
    """Finds the files of names as written, else with slashes for backslashes, else of equal NFC form."""

    def __init__(self) -> None:
        self._counts = Counter[str]()
        self._listed = text_list()  # folders
        self._names = DiskList[tuple[str, str]](pack=list, unpack=tuple, key=lambda pair: pair[0])

    def match(self, root: Path, name: str) -> str:
        """Return the name of the file relative to ``root``, or the name as written if there is none."""
        if (name.isascii() and "\\" not in name) or _exists(root / name):
            return name
        slashes = str(PurePosixPath(name.replace("\\", "/")))
        for way, other in ((BACKSLASHES, slashes), (UNICODE_FORM, self._other_form(root, slashes))):
            if other != name and _exists(root / other):
                self._counts[way] += 1
                return other
        return name

    @property
    def notes(self) -> list[str]:
        """How many names were found in which other way."""
        return [f"{count:,} names are {way}" for way, count in self._counts.items()]

    def _other_form(self, root: Path, name: str) -> str:
        """Return the name with each part as it is on the disk, where it is there in another form."""
        found = PurePosixPath()
        for part in PurePosixPath(name).parts:
            folder, pair = root / found, (part, part)
            if not part.isascii() and not _exists(folder / part):
                self._list(folder)
                pair = self._names.find(self._key(folder, part)) or pair
            found /= pair[1]
        return str(found)

    def _list(self, folder: Path) -> None:
        """Add the names in a folder that may have several Unicode forms, once."""
        if self._listed.add(str(folder)) is None:
            with contextlib.suppress(OSError):  # no such folder
                for entry in folder.iterdir():
                    if not entry.name.isascii():
                        self._names.add((self._key(folder, entry.name), entry.name))

    @staticmethod
    def _key(folder: Path, name: str) -> str:
        return f"{folder}\0{unicodedata.normalize('NFC', name)}"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False  # a name that is too long, or that no file system allows
