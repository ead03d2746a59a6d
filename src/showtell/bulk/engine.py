"""Engines caption units: in this process here, in others in `showtell.bulk.workers` and `showtell.bulk.ray_engine`.

Every engine yields the same events: units in any order, the images of one unit in theirs.
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from showtell.bulk.units import Failure, Unit
from showtell.config.generation import DecodingOptions
from showtell.images.load import ImageSource
from showtell.inference.caption import Caption
from showtell.inference.captioner import Captioner


@dataclass(frozen=True)
class Event:
    """The caption of image ``index`` of a unit, or (None) the end of that unit."""

    unit: int
    index: int
    caption: Caption | None


class Engine(Protocol):
    """Captions units.

    Attributes:
        facts: The checkpoint's or export's ``config.json``.
        options: The captioner's default decoding options.
        place: Processes, devices and threads.
    """

    facts: Mapping[str, Any]
    options: DecodingOptions
    place: str

    def events(self, work: Iterable[tuple[Unit, int]], **options: Any) -> Generator[Event, None, None]:
        """Caption units from the image that each begins with; the options are those of `Captioner.stream`."""


class ThisProcess:
    """Captions in this process."""

    def __init__(self, captioner: Captioner) -> None:
        self.facts, self.options, self.place = captioner.facts, captioner.options, captioner.place
        self._captioner = captioner

    def events(self, work: Iterable[tuple[Unit, int]], **options: Any) -> Generator[Event, None, None]:
        """See `Engine`."""
        return caption_units(self._captioner, work, **options)


def caption_units(
    captioner: Captioner, work: Iterable[tuple[Unit, int]], *, batch_size: int, **options: Any
) -> Generator[Event, None, None]:
    """Caption units from the image that each begins with; the options are those of `Captioner.stream`.

    The next unit is read while the last batches of this one are captioned. The last digits of a score depend on the
    batch, so batches begin at the same images wherever a unit is resumed: some are captioned again for nothing.
    """
    expected = deque[
        Event | tuple[int, int] | None
    ]()  # of a caption that is to come, its unit and index if wanted

    def batches() -> Iterator[list[ImageSource]]:
        for unit, start in work:
            index = start - start % batch_size
            images = unit.images(index)
            while batch := list(islice(images, batch_size)):
                readable = list[ImageSource]()
                for index, image in enumerate(batch, index):  # noqa: B020
                    if not isinstance(image, Failure):
                        readable.append(image)
                        expected.append((unit.number, index) if index >= start else None)
                    elif index >= start:
                        expected.append(Event(unit.number, index, image.caption))
                index += 1
                yield readable
            expected.append(Event(unit.number, index, None))

    def ready() -> Iterator[Event]:
        while expected and isinstance(event := expected[0], Event):
            expected.popleft()
            yield event

    for caption in captioner.stream_batches(batches(), **options):
        yield from ready()
        place = expected.popleft()
        if isinstance(place, tuple):
            yield Event(*place, caption)
    yield from ready()
