"""Units of work: consecutive images that one worker captions from the first to the last."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from showtell.images.listing import describe_suffixes, list_images
from showtell.images.load import ImageSource
from showtell.system.console import note

UNIT_IMAGES = 256
"""Images of a unit of files: about ten seconds of work on one core, the most that is done twice after a kill."""


@dataclass(frozen=True)
class Unit:
    """Consecutive images of the sources.

    Attributes:
        number: Its place among the units.
        content: JSON that says what to read: ``{"paths": [...]}``.
    """

    number: int
    content: dict[str, Any]

    def images(self, start: int = 0) -> Iterator[ImageSource]:
        """Yield the images from number ``start`` on."""
        yield from map(Path, self.content["paths"][start:])


@dataclass(frozen=True)
class Listing:
    """Units in order, the number of their images (None: not known before they are read), and paths not listed."""

    contents: Callable[[], Iterator[dict[str, Any]]]
    num_images: int | None
    problems: list[str] = field(default_factory=list)

    def units(self) -> Iterator[Unit]:
        """Yield the units, from the first on in each call."""
        return (Unit(number, content) for number, content in enumerate(self.contents()))


def list_units(sources: Sequence[Path], *, recursive: bool = False) -> Listing:
    """List the images of files and folders in units; note files that are no images."""
    left_out: Counter[str] = Counter()
    images, problems = list_images(sources, recursive=recursive, left_out=left_out)
    if left_out:
        note(f"files left out, no images: {left_out.total()} ({describe_suffixes(left_out)})")
    return Listing(lambda: _contents(iter(images)), len(images), problems)


def _contents(images: Iterator[Path]) -> Iterator[dict[str, Any]]:
    while paths := [str(path) for path in islice(images, UNIT_IMAGES)]:
        yield {"paths": paths}
