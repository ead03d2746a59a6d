"""Side-cars: the captions of an image in a file of its own, ``photo.txt`` or ``photo.jpg.xmp``.

What would be done with each image is found before any image is captioned (`plan`). Text is UTF-8, a caption a line,
without an end of the last line. What is in a side-car is kept unless it is to be replaced, and a file is replaced as
a whole (`showtell.system.atomic.atomic_path`).
"""

import errno
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from showtell.bulk import xmp
from showtell.bulk.sources.storage import is_url
from showtell.bulk.units import UNIT_IMAGES, Listing
from showtell.bulk.writers import Row
from showtell.errors import ConfigError, DataError
from showtell.images.formats import IMAGE_SUFFIXES, OTHER_SUFFIXES, READ_SUFFIXES
from showtell.system.atomic import atomic_path, cannot_write
from showtell.system.console import note
from showtell.system.disk_store import DiskList, text_list
from showtell.system.reading import MAX_JSON_BYTES, cannot_read, decode_text, read_bytes, text_encoding

OnExisting: TypeAlias = Literal["skip", "overwrite", "append", "prepend"]

XMP = ".xmp"
_NOT_READ = tuple(set(IMAGE_SUFFIXES) - set(READ_SUFFIXES))


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
        folder = self.folder or next((each for each in beside if os.access(each, os.W_OK)), Path())
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

    def write(self, row: Row) -> None:
        """Write the side-car of an image, if its caption is not unsure; a DataError if it cannot be written."""
        if "error" in row or "unsure" in row:
            return
        path = self.path_of(Path(row["path"]))
        merged = self.merge(path, [each["caption"] for each in row.get("alternatives", [row])])
        if merged is not None:
            with atomic_path(path) as temporary:
                temporary.write_bytes(merged)

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


def sidecar_suffix(output: object) -> str:
    """Return the suffix of an output of side-cars, nothing of another."""
    return output.suffix if isinstance(output, Sidecars) else ""


def _read(path: Path) -> bytes:
    """Return the content of a file; nothing if there is none, or white space alone."""
    try:
        content = read_bytes(path, MAX_JSON_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise cannot_read(path, error) from error
    return content if content.strip() else b""


class Planned(NamedTuple):
    """An image and its side-car, which has text (``is_done``), cannot be written (``problem``), or is due."""

    image: Path
    sidecar: Path
    is_done: bool = False
    problem: str = ""


def plan(listing: Listing, sidecars: Sidecars) -> Iterator[Planned]:
    """Yield each image once.

    Images that would have one side-car are problems all, since none has a better claim; only a file whose suffix says
    that it is not read, such as the RAW file of a JPEG, has none. Names that differ in case are one name, as on
    some disks.

    Raises:
        DataError: a folder of side-cars cannot be written.
        ConfigError: the sources are no image files.
    """
    claims = DiskList[list[str]](pack=list, unpack=list, key=lambda claim: claim[0])  # side-car, images
    for image in _images(listing):
        if not image.name.lower().endswith(_NOT_READ):
            place = str(sidecars.resolve(image.parent) / image.name)
            claim = [_key(sidecars.path_of(image)), place]
            earlier = claims.add(claim)
            if earlier is not None and place not in earlier:
                claims.replace([*earlier, place])
    images, folders = text_list(), text_list()
    for image in _images(listing):
        place = str(sidecars.resolve(image.parent) / image.name)
        if images.add(place) is not None:
            continue
        sidecar = sidecars.path_of(image)
        claim = claims.find(_key(sidecar)) or []
        rivals = [Path(other).name for other in claim[1:] if other != place]
        try:
            if rivals:
                raise DataError(
                    f"cannot write {sidecar} for {image}",
                    found=f"other images with that side-car ({', '.join(rivals)})",
                    mend="Rename them, or use -o FILE",
                )
            is_done = sidecars.is_done(sidecar)
        except DataError as error:
            yield Planned(image, sidecar, problem=str(error))
            continue
        if not is_done and folders.add(str(sidecar.parent)) is None:
            _check_folder(sidecar.parent)
        yield Planned(image, sidecar, is_done)


def pending(listing: Listing, sidecars: Sidecars) -> Listing:
    """Return the images of a plan that are due, and the problems; note how many are done."""
    problems = list(listing.problems)
    images, num_done = text_list(), 0
    for planned in plan(listing, sidecars):
        if planned.problem:
            problems.append(planned.problem)
        elif planned.is_done:
            num_done += 1
        else:
            images.add(str(planned.image))
    if num_done:
        note(f"{num_done:,} images have a description already; {len(images):,} are to be captioned")

    def contents() -> Iterator[dict[str, Any]]:
        paths = iter(images)
        while unit := list(islice(paths, UNIT_IMAGES)):
            yield {"files": unit}

    return Listing(contents, len(images), problems)


def _images(listing: Listing) -> Iterator[Path]:
    for unit in listing.units():
        files = unit.content.get("files", [])
        if foreign := list(filter(is_url, files)) if files else [unit.content[unit.kind]]:
            raise ConfigError(
                "side-cars cannot be written",
                found=f"images that are no files of their own, in {foreign[0]}",
                mend="Use -o FILE for them",
            )
        yield from map(Path, files)


def _key(sidecar: Path) -> str:
    return f"{sidecar.parent}{os.sep}{sidecar.name.casefold()}"


def _check_folder(folder: Path) -> None:
    """Raise a DataError if a folder that exists, or that would be made, cannot be written."""
    existing = next(each for each in (folder, *folder.parents) if os.path.exists(each))  # noqa: PTH110 (never raises)
    code = errno.EACCES if existing.is_dir() else errno.ENOTDIR
    if code == errno.ENOTDIR or not os.access(existing, os.W_OK | os.X_OK):
        raise cannot_write(folder, OSError(code, os.strerror(code)))
