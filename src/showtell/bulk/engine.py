"""Captions units in this process. Every engine yields the same events, in any order of the units."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from showtell.bulk.units import Unit
from showtell.images.load import ImageSource
from showtell.inference.caption import Caption
from showtell.inference.captioner import Captioner


@dataclass(frozen=True)
class Event:
    """The caption of image ``index`` of a unit, or (None) the end of that unit."""

    unit: int
    index: int
    caption: Caption | None


def caption_units(captioner: Captioner, work: Iterable[tuple[Unit, int]], **options: Any) -> Iterator[Event]:
    """Caption units from the image that each begins with; the options are those of `Captioner.stream`.

    The next unit is read while the last batches of this one are captioned.
    """
    expected = deque[tuple[int, int, bool]]()

    def images() -> Iterator[ImageSource]:
        for unit, start in work:
            index = start
            for index, image in enumerate(unit.images(start), start):
                expected.append((unit.number, index, True))
                yield image
            expected.append((unit.number, index, False))

    def ended() -> Iterator[Event]:
        while expected and not expected[0][2]:
            unit, index, _ = expected.popleft()
            yield Event(unit, index, None)

    for caption in captioner.stream(images(), **options):
        yield from ended()
        unit, index, _ = expected.popleft()
        yield Event(unit, index, caption)
    yield from ended()
