"""The output of a dataset reader (examples and problems), and what readers share to make it.

`showtell.data.sources.registry` says what a reader consists of. It reads texts and names only; ``prepare`` decodes the
images.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from showtell.images.load import IMAGE_SUFFIXES
from showtell.system.atomic import text_lines
from showtell.system.disk_store import DiskList

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "restval"), "train"),
    **dict.fromkeys(("dev", "val", "valid", "validation"), "dev"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""Split names of published datasets, and ours (``restval``: Karpathy's, of COCO)."""

R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Example:
    """An image file with its captions, as in the source."""

    key: str  # name of the image in its dataset; unique within a split
    image: Path
    captions: tuple[str, ...]
    split: str = ""  # "train", "val", ...; empty if the source has none


@dataclass(frozen=True, slots=True)
class EmbeddedImageExample:
    """An `Example` with the encoded image (JPEG, PNG, ...) as bytes; ``prepare`` writes it to a file."""

    key: str
    data: bytes
    captions: tuple[str, ...]
    split: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of a dataset."""

    kind: str  # a key of `showtell.data.problems.KINDS`
    key: str  # the image, or ``file:line``
    detail: str


@dataclass
class Source:
    """A published dataset, before its images are opened.

    Examples are in the order of the source: a one-time iterator where images are embedded, since they may not fit into
    memory, and `examples_on_disk` for sets of any size (a million examples take gigabytes as objects). The problems
    are complete after the examples have been iterated over.
    """

    examples: Sequence[Example] | Iterator[Example | EmbeddedImageExample]
    problems: list[Problem]
    notes: list[str] = field(default_factory=list)  # information for the user that is no problem
    name: str = ""  # the reader's


def is_image(name: str) -> bool:
    """Return whether a file is an image, by its name."""
    return not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES)


def files_named(path: Path, names: Sequence[str], *, forced: bool) -> list[Path]:
    """Return the files of these relative names in a folder; or a file itself, by its name or if ``forced``."""
    if path.is_file():
        return [path] if forced or path.name in {Path(name).name for name in names} else []
    return [path / name for name in names if (path / name).is_file()]


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file (LF or CRLF); other Unicode line separators are text."""
    for line in text_lines(path):
        yield line.removesuffix("\n").removesuffix("\r")


def filled_lines(path: Path, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield ``file:line`` and text of the lines that are not blank, as records for `parse_records`."""
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            yield f"{name or path.name}:{number}", line


def parse_records(
    records: Iterable[tuple[str, R]], parse: Callable[[R], T], problems: list[Problem]
) -> Iterator[T]:
    """Yield what ``parse`` returns for each record; if it raises a ValueError, that is a problem of the record."""
    for position, record in records:
        try:
            yield parse(record)
        except ValueError as error:
            problems.append(Problem("unreadable-line", position, str(error)))


def examples_on_disk(
    examples: Iterable[Example] = (), *, key: Callable[[Example], str] | None = None
) -> DiskList[Example]:
    """Return examples on disk, found by ``key`` if given."""
    return DiskList(examples, pack=pack_example, unpack=unpack_example, key=key)


def pack_example(example: Example) -> list[Any]:
    """Return an example as JSON values."""
    return [example.key, str(example.image), example.captions, example.split]


def unpack_example(values: Sequence[Any]) -> Example:
    """Return the example of these JSON values."""
    key, image, captions, split = values
    return Example(key, Path(image), tuple(captions), split)
