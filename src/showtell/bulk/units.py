"""Units of work: consecutive images that one worker captions from the first to the last."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Self, TypeAlias

from showtell.images.load import ImageSource
from showtell.images.refusals import refused
from showtell.inference.caption import Caption

UNIT_IMAGES = 256
"""Images of a unit of files: about ten seconds of work on one core, the most that is done twice after a kill."""


@dataclass(frozen=True)
class Failure:
    """An image, or what should have held images, that cannot be read: its error is a row in the image's place."""

    path: str
    error: str

    @classmethod
    def of(cls, path: str, found: str, mend: str = "Leave it out") -> Self:
        """Return the failure of an image that cannot be read, by what was found."""
        return cls(path, str(refused(path, found, "", mend)))

    @property
    def caption(self) -> Caption:
        """What is in the place of its caption."""
        return Caption("", -math.inf, path=self.path, error=self.error)


UnitImage: TypeAlias = ImageSource | Failure


@dataclass(frozen=True)
class Unit:
    """Consecutive images of the sources.

    Attributes:
        number: Its place among the units.
        content: JSON that says what to read, on any machine; the first key is the kind, the name of a module in
            `showtell.bulk.sources`: ``{"files": [...]}``, ``{"tar": ...}``, ``{"parquet": ...}``,
            ``{"dataset": ...}``.
    """

    number: int
    content: dict[str, Any]

    @property
    def kind(self) -> str:
        """What it is read from."""
        return next(iter(self.content))

    def images(self, start: int = 0) -> Iterator[UnitImage]:
        """Yield the images from number ``start`` on, and in their places those that cannot be read."""
        images: Iterator[UnitImage] = import_module(f"showtell.bulk.sources.{self.kind}").read(
            self.content, start
        )
        return images


@dataclass(frozen=True)
class Listing:
    """Units in order, the number of their images (None: not known before they are read), and paths not listed."""

    contents: Callable[[], Iterator[dict[str, Any]]]
    num_images: int | None
    problems: list[str] = field(default_factory=list)

    def units(self) -> Iterator[Unit]:
        """Yield the units, from the first on in each call."""
        return (Unit(number, content) for number, content in enumerate(self.contents()))
