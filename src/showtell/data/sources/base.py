"""The output of a dataset reader: examples and problems.

A reader is a module with ``LAYOUT``, ``matches(path) -> bool`` and ``read(path) -> Source``, and a line in
`showtell.data.sources.registry`. It reads texts and names only; ``prepare`` decodes the images.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from showtell.errors import DataError
from showtell.images.load import IMAGE_SUFFIXES
from showtell.system.atomic import text_lines
from showtell.system.disk_store import DiskList

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "restval"), "train"),
    **dict.fromkeys(("dev", "val", "valid", "validation"), "dev"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""Split names of published datasets, and ours (``restval``: Karpathy's, of COCO)."""


@dataclass(frozen=True, slots=True)
class Example:
    """An image with its captions.

    Attributes:
        key: Name of the image in its dataset; unique within a split.
        image: The image file.
        captions: As in the source.
        split: As in the source ("train", "val", ...); empty if it has none.
    """

    key: str
    image: Path
    captions: tuple[str, ...]
    split: str = ""


@dataclass(frozen=True, slots=True)
class EmbeddedImageExample:
    """An `Example` with the encoded image (JPEG, PNG, ...) as bytes; ``prepare`` writes it to a file."""

    key: str
    data: bytes
    captions: tuple[str, ...]
    split: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of a dataset.

    Attributes:
        kind: One of `showtell.data.problems.KINDS`.
        key: The image, or ``file:line``.
        detail: Description.
    """

    kind: str
    key: str
    detail: str


@dataclass(frozen=True)
class Source:
    """A published dataset, before its images are opened.

    Attributes:
        examples: In the order of the source; a one-time iterator where images are embedded, since they may not fit
            into memory, and `examples_on_disk` for sets of any size: a million examples take gigabytes as objects.
        problems: Entries that the reader left out; complete after ``examples`` has been iterated over.
        name: The reader's name.
        notes: Information for the user that is no problem.
    """

    examples: Sequence[Example] | Iterator[Example | EmbeddedImageExample]
    problems: list[Problem]
    name: str
    notes: list[str] = field(default_factory=list)


def is_image(name: str) -> bool:
    """Return whether a file is an image, by its name."""
    return not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES)


def not_a(name: str, path: Path, found: str, layout: str) -> DataError:
    """Return the error of a path that is not a dataset of a format."""
    return DataError(f"cannot read {path} as {name}", found=found, expected=layout, mend="Check the path")


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file (LF or CRLF); other Unicode line separators are text."""
    for line in text_lines(path):
        yield line.removesuffix("\n").removesuffix("\r")


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
