"""What a reader of a published format hands over: examples, and what was wrong, without raising.

A reader is one module with two functions, ``recognise(path) -> bool`` and ``read(path) -> Source``, and a line
in `showtell.data.sources.registry`. It looks at texts and names only; pictures are opened by ``prepare``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from showtell.files import read_text
from showtell.images import PICTURE_SUFFIXES

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
class HeldExample:
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
            through once: they would not all fit into memory.
        problems: What the reader had to leave out; complete when ``examples`` has been gone through.
        name: The reader's name.
        notes: What a user should know and is no problem.
    """

    examples: Iterable[Example | HeldExample]
    problems: list[Problem]
    name: str
    notes: list[str] = field(default_factory=list)


def is_picture(name: str) -> bool:
    """Tell by its name whether a file is a picture."""
    return not name.startswith(".") and name.lower().endswith(PICTURE_SUFFIXES)


def read_lines(path: Path) -> list[str]:
    """Return a UTF-8 file's lines (LF or CRLF); other Unicode line separators stay inside a line."""
    return [line.removesuffix("\r") for line in read_text(path).split("\n")]
