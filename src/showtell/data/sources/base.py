"""What a reader of a published format hands over: examples, and what was wrong, without raising.

A reader is one module with two functions, ``matches(path) -> bool`` and ``read(path) -> Source``, and a line
in `showtell.data.sources.registry`. It looks at texts and names only; pictures are opened by ``prepare``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from showtell.images.load import IMAGE_SUFFIXES
from showtell.system.atomic import text_lines
from showtell.system.disk_store import DiskList

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "restval": "train",
    "dev": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
"""What published sets call their splits, and what they are called here (``restval``: Karpathy's, of COCO)."""


@dataclass(frozen=True, slots=True)
class Example:
    """One picture with its captions.

    Args:
        key: What the picture is called in its set; unique within a split.
        image: Where it is.
        captions: As they stand in the source.
        split: As the source has it ("train", "val", ...); empty where it has none.
    """

    key: str
    image: Path
    captions: tuple[str, ...]
    split: str = ""


@dataclass(frozen=True, slots=True)
class EmbeddedImageExample:
    """One picture that is no file: its set holds the bytes, and ``prepare`` writes them out.

    Args:
        key: As in `Example`.
        data: The picture's bytes, encoded as they are held (JPEG, PNG, ...).
        captions: As in `Example`.
        split: As in `Example`.
    """

    key: str
    data: bytes
    captions: tuple[str, ...]
    split: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a set.

    Args:
        kind: One of `showtell.data.problems.KINDS`.
        key: The picture, or ``file:line``.
        detail: What was found.
    """

    kind: str
    key: str
    detail: str


@dataclass(frozen=True)
class Source:
    """All of a published set that can be known without opening its pictures.

    Args:
        examples: In the order of the source. A set that holds its pictures as bytes gives an iterator, to be gone
            through once: they would not all fit into memory. Of others a million examples would take gigabytes as
            objects: they are `spilled_examples`.
        problems: What the reader had to leave out; complete when ``examples`` has been gone through.
        name: The reader's name.
        notes: What a user should know and is no problem.
    """

    examples: Sequence[Example] | Iterator[Example | EmbeddedImageExample]
    problems: list[Problem]
    name: str
    notes: list[str] = field(default_factory=list)


def is_image(name: str) -> bool:
    """Tell by its name whether a file is a picture."""
    return not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES)


def read_lines(path: Path) -> Iterator[str]:
    """Yield a UTF-8 file's lines (LF or CRLF); other Unicode line separators stay inside a line."""
    for line in text_lines(path):
        yield line.removesuffix("\n").removesuffix("\r")


def spilled_examples(
    examples: Iterable[Example] = (), *, name: Callable[[Example], Hashable] | None = None
) -> DiskList[Example]:
    """Return examples on disk, which are found by a name where they have one."""
    return DiskList(examples, pack=pack_example, unpack=unpack_example, name=name)


def pack_example(example: Example) -> list[Any]:
    """Return an example as JSON values."""
    return [example.key, str(example.image), example.captions, example.split]


def unpack_example(values: Sequence[Any]) -> Example:
    """Return the example that `pack_example` took apart."""
    key, image, captions, split = values
    return Example(key, Path(image), tuple(captions), split)
