"""Captions units in this process. Every engine yields the same events, in any order of the units."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from showtell.bulk.units import Unit
from showtell.bulk.writers import Row
from showtell.images.load import ImageSource
from showtell.inference.caption import Caption
from showtell.inference.captioner import Captioner


@dataclass(frozen=True)
class Event:
    """The row of image ``index`` of a unit, or (None) the end of that unit, which has ``index`` images."""

    unit: int
    index: int
    row: Row | None


def caption_units(
    captioner: Captioner,
    work: Iterable[tuple[Unit, int]],
    to_row: Callable[[Caption], Row],
    *,
    batch_size: int,
    attention: bool = False,
    **options: Any,
) -> Iterator[Event]:
    """Caption units from the image that each begins with, and yield the rows in order.

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

    for caption in captioner.stream(images(), attention=attention, batch_size=batch_size, **options):
        yield from ended()
        unit, index, _ = expected.popleft()
        yield Event(unit, index, to_row(caption))
    yield from ended()
