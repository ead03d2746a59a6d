"""Side-cars: the captions of an image in a file of its own, ``photo.txt`` or ``photo.jpg.xmp``.

Text is UTF-8, a caption a line, without an end of the last line. What is in a side-car is kept unless it is to be
replaced, and a file is replaced as a whole (`showtell.system.atomic.atomic_path`).
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

from showtell.bulk import xmp
from showtell.bulk.writers import Row
from showtell.errors import ConfigError, DataError
from showtell.images.formats import IMAGE_SUFFIXES, OTHER_SUFFIXES
from showtell.system.atomic import atomic_path, delete_leftovers
from showtell.system.disk_store import text_list
from showtell.system.reading import MAX_JSON_BYTES, cannot_read, decode_text, read_bytes, text_encoding

OnExisting: TypeAlias = Literal["skip", "overwrite", "append", "prepend"]

XMP = ".xmp"


@dataclass(frozen=True)
class Sidecars:
    """Which side-cars images have, and what becomes of the text in them.

    Attributes:
        sources: The sources of the images.
        suffix: ``.txt`` and the like: in place of the image's suffix. ``.xmp``: after the image's name.
        folder: A folder that gets the tree of each source; None: beside the images.
        on_existing: What becomes of a side-car that is not empty.
    """

    sources: Sequence[Path]
    suffix: str = ".txt"
    folder: Path | None = None
    on_existing: OnExisting = "skip"

    def __post_init__(self) -> None:
        """Check the suffix, and that XMP can be written."""
        suffix = self.suffix.lower()
        is_others = suffix in {*IMAGE_SUFFIXES, *OTHER_SUFFIXES} - {".txt", XMP}
        if is_others or not re.fullmatch(r"\.[\w-]+", suffix):
            raise ConfigError(
                f"--sidecar {self.suffix} cannot be used",
                found="a suffix of other files" if is_others else "no suffix",
                expected="for example .txt or .caption",
            )
        if self.is_xmp:
            xmp.import_lxml()

    @property
    def is_xmp(self) -> bool:
        """Whether the side-cars are XMP, not text."""
        return self.suffix.lower() == XMP

    @cached_property
    def _roots(self) -> list[Path]:
        return [Path(source) for source in self.sources if os.path.isdir(source)]  # noqa: PTH112 (never raises)

    @cached_property
    def resolve(self) -> Callable[[Path], Path]:
        """Resolves the links in the path of a folder."""
        return lru_cache(lambda folder: Path(os.path.realpath(folder)))

    @property
    def record(self) -> Path:
        """Where the record of an unfinished call is."""
        beside = [*self._roots, *(Path(source).parent for source in self.sources), Path()]
        folder = self.folder or next(folder for folder in beside if folder.is_dir())
        return folder / ".showtell-sidecars.parts"

    def path_of(self, image: Path) -> Path:
        """Return the side-car of an image; if that is a link, where it leads."""
        name = f"{image.name if self.is_xmp else image.stem}{self.suffix}"
        folder = image.parent
        if self.folder is not None:
            root = next((root for root in self._roots if folder.is_relative_to(root)), folder)
            inside = folder.relative_to(root)
            folder = self.folder / ("" if ".." in inside.parts else inside)
        path = self.resolve(folder) / name
        is_link = os.path.islink(path)  # noqa: PTH114 (is_symlink() raises for a name that is too long)
        return Path(os.path.realpath(path)) if is_link else path

    def is_done(self, path: Path) -> bool:
        """Return whether a side-car needs no caption.

        Raises:
            DataError: it can be neither kept nor changed: no text, a folder, or no well-formed XMP.
        """
        text = self._text(_read(path), path)
        return self.on_existing == "skip" and bool(text.strip())

    def merge(self, path: Path, captions: Sequence[str]) -> bytes | None:
        """Return the new content of a side-car; None if it remains as it is."""
        content = _read(path)
        old = self._text(content, path)
        if self.on_existing == "skip" and old.strip():
            return None  # another process was faster
        text = self._join(old, captions)
        if self.is_xmp:
            merged = xmp.merge(content, text, captions[0], path, overwrite=self.on_existing == "overwrite")
        else:
            merged = text.encode()
        return None if merged == content else merged

    def _text(self, content: bytes, path: Path) -> str:
        if b"\0" in content and text_encoding(content) != "utf-16":
            raise DataError(f"cannot use {path} as a side-car", found="a file that is no text")
        if self.is_xmp:
            return xmp.read_description(content, path)
        if self.on_existing in {"append", "prepend"}:
            return decode_text(content, path)
        return content.decode(text_encoding(content), "replace")

    def _join(self, old: str, captions: Sequence[str]) -> str:
        """Join old text and captions, which are not added where they are already: a killed call is repeated."""
        newline = "\r\n" if "\r\n" in old else "\n"
        new = newline.join(captions)
        if self.on_existing in {"skip", "overwrite"} or not old.strip():
            return new
        if self.on_existing == "append":
            lines = old.rstrip("\r\n")
            return old if f"{newline}{lines}".endswith(f"{newline}{new}") else f"{lines}{newline}{new}"
        return old if f"{old}{newline}".startswith(f"{new}{newline}") else f"{new}{newline}{old}"


class SidecarWriter:
    """Writes the side-cars of rows, and deletes what killed writers left in their folders."""

    def __init__(self, sidecars: Sidecars) -> None:
        self._sidecars = sidecars
        self._folders = text_list()

    def __call__(self, row: Row) -> None:
        """Write the side-car of an image, if its caption is not unsure; a DataError if it cannot be written."""
        if "error" in row or "unsure" in row:
            return
        path = self._sidecars.path_of(Path(row["path"]))
        if self._folders.add(str(path.parent)) is None:
            delete_leftovers(path.parent, f"*{self._sidecars.suffix}")
        captions = [each["caption"] for each in row.get("alternatives", [row])]
        merged = self._sidecars.merge(path, captions)
        if merged is not None:
            with atomic_path(path) as temporary:
                temporary.write_bytes(merged)


def _read(path: Path) -> bytes:
    """Return the content of a file; nothing if there is none, or white space alone."""
    try:
        content = read_bytes(path, MAX_JSON_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise cannot_read(path, error) from error
    return content if content.strip() else b""
