"""The output of a dataset reader: examples and problems.

A reader is a module as `showtell.data.sources.registry.Reader` describes it. It reads texts and names only, by means
of `files` and `table`; ``prepare`` decodes the images.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

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
    provenance: tuple[str, ...] = ()  # of each corrected caption, a JSON object

    def pack(self) -> list[Any]:
        """Return the example as JSON values."""
        return [self.key, str(self.image), self.captions, self.split, *self.provenance]

    def joined(self, other: "Example") -> "Example":
        """Return the example with the captions of another one too."""
        return replace(
            self, captions=self.captions + other.captions, provenance=self.provenance + other.provenance
        )

    @staticmethod
    def unpack(values: Sequence[Any]) -> "Example":
        """Return the example of these JSON values."""
        key, image, captions, split, *provenance = values
        return Example(key, Path(image), tuple(captions), split, tuple(provenance))


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


class NotEditedError(ValueError):
    """A record holds a machine's caption that nobody edited, beside others that somebody did."""

    def __init__(self) -> None:
        super().__init__("left out")


@dataclass
class Source:
    """A published dataset, before its images are opened.

    Examples are in the order of the source: a one-time iterator where images are embedded, since they may not fit
    into memory, and `examples_on_disk` for sets of any size (a million examples take gigabytes as objects). The
    problems are complete after the examples have been iterated over.
    """

    examples: Sequence[Example] | Iterator[Example | EmbeddedImageExample]
    problems: list[Problem]
    notes: list[str] = field(default_factory=list)  # information for the user that is no problem
    name: str = ""  # the reader's


def parse_records(
    records: Iterable[tuple[str, R]], parse: Callable[[R], T], problems: list[Problem]
) -> Iterator[T]:
    """Yield what ``parse`` returns for each record; if it raises a ValueError, that is a problem of the record."""
    for position, record in records:
        try:
            yield parse(record)
        except ValueError as error:
            kind = "not-edited" if isinstance(error, NotEditedError) else "unreadable-line"
            problems.append(Problem(kind, position, str(error)))


def examples_on_disk(
    examples: Iterable[Example] = (), *, key: Callable[[Example], str] | None = None
) -> DiskList[Example]:
    """Return examples on disk, found by ``key`` if given."""
    return DiskList(examples, pack=Example.pack, unpack=Example.unpack, key=key)
