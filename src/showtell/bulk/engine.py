"""Captions units in this process. Every engine yields the same events, in any order of the units."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from showtell.bulk.units import Failure, Unit
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
    expected = deque[Event | tuple[int, int]]()  # in place of a caption, its unit and index

    def images() -> Iterator[ImageSource]:
        for unit, start in work:
            index = start
            for image in unit.images(start):
                if isinstance(image, Failure):
                    failed = Caption("", -math.inf, path=image.path, error=image.error)
                    expected.append(Event(unit.number, index, failed))
                else:
                    expected.append((unit.number, index))
                    yield image
                index += 1
            expected.append(Event(unit.number, index, None))

    def ready() -> Iterator[Event]:
        while expected and isinstance(event := expected[0], Event):
            expected.popleft()
            yield event

    for caption in captioner.stream(images(), **options):
        yield from ready()
        unit, index = cast(tuple[int, int], expected.popleft())
        yield Event(unit, index, caption)
    yield from ready()
