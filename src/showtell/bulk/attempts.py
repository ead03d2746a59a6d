"""Finds the image that ends processes: where one has ended, images are first tried one at a time.

Only an image that was alone in a process that ended counts as the cause, so that a kill from outside, or another
image of the batch, costs no caption. What ended `MAX_ATTEMPTS` processes is an error; the others are captioned in
their batches, or alone if batches end processes and none of their images does.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from showtell.bulk.engine import Event, caption_units
from showtell.bulk.units import Failure, Unit, UnitImage
from showtell.errors import ImageError
from showtell.inference.captioner import Captioner, source_path

MAX_ATTEMPTS = 2
_MIN_SUSPECTED = 256
"""Images that are tried alone after a process has ended, and at least four batches: it had read no more."""


@dataclass
class Tried:
    """What is known of a unit with which processes have ended.

    Attributes:
        num_ended: Processes that ended while they captioned batches of it.
        causes: How processes ended that had one image of it alone, by the number of the image.
    """

    num_ended: int = 0
    causes: dict[int, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """A unit to be captioned from image ``start`` on; ``tried`` is None if no process has ended with it."""

    unit: Unit
    start: int
    tried: Tried | None = None


class Attempts:
    """The units with which processes have ended."""

    def __init__(self) -> None:
        self._begun: set[int] = set()
        self._tried: dict[int, Tried] = {}
        self._alone: dict[int, int] = {}

    def begin(self, unit: int) -> Tried | None:
        """Note that a process begins a unit; if another has begun it and not finished, that one has ended."""
        if unit in self._begun:
            self.end(unit)
        self._begun.add(unit)
        return self.tried(unit)

    def tried(self, unit: int) -> Tried | None:
        """Return what is known of a unit."""
        return self._tried.get(unit)

    def mark(self, unit: int, image: int | None) -> None:
        """Note which image a process has alone, or (None) that it captions batches."""
        self._alone.pop(unit, None)
        if image is not None:
            self._alone[unit] = image

    def end(self, unit: int, how: str = "") -> None:
        """Note that the process with a unit has ended, as ``how`` says."""
        tried = self._tried.setdefault(unit, Tried())
        if unit in self._alone:
            tried.causes.setdefault(self._alone.pop(unit), []).append(how)
        else:
            tried.num_ended += 1

    def forget(self, unit: int) -> None:
        """Forget a unit: it is finished, or has come further than before."""
        self._begun.discard(unit)
        self._tried.pop(unit, None)
        self._alone.pop(unit, None)


def caption_task(
    captioner: Captioner, task: Task, mark: Callable[[int | None], object], *, batch_size: int, **options: Any
) -> Iterator[Event]:
    """Caption a unit in batches; if a process has ended with it, try images alone before, each after a ``mark``."""
    unit, start, tried = task.unit, task.start, task.tried
    if tried is not None:
        # Batches may end a process by their size.
        is_kept = tried.num_ended > MAX_ATTEMPTS
        unit = _Spared(unit.number, unit.content, tried.causes)
        images, end = unit.images(start), start - start % batch_size + max(_MIN_SUSPECTED, 4 * batch_size)
        end -= end % batch_size
        for index in range(start, end):
            mark(index)
            image = next(images, None)
            if image is None:
                break
            single = _Single(unit.number, {}, image)
            events = caption_units(captioner, [(single, 0)], batch_size=1, **options)
            caption = next(events).caption
            if is_kept:
                start = index + 1
                yield Event(unit.number, index, caption)
        mark(None)
    yield from caption_units(captioner, [(unit, start)], batch_size=batch_size, **options)


@dataclass(frozen=True)
class _Single(Unit):
    """One image."""

    image: UnitImage

    def images(self, start: int = 0) -> Iterator[UnitImage]:
        yield self.image


@dataclass(frozen=True)
class _Spared(Unit):
    """A unit without the images that end processes."""

    causes: Mapping[int, list[str]]

    def images(self, start: int = 0) -> Iterator[UnitImage]:
        for index, image in enumerate(super().images(start), start):
            causes = self.causes.get(index, [])
            if len(causes) < MAX_ATTEMPTS or isinstance(image, Failure):
                yield image
                continue
            path = source_path(image)
            how = " and ".join(sorted(set(filter(None, causes))))
            found = f"the process that captioned it ended{how and f' by {how}'}, {len(causes)} times"
            yield Failure(str(path), str(ImageError(f"cannot caption {path}", found=found)))
