"""Finds the image that ends processes: where one has ended, images are first tried one at a time.

Only an image that was alone in a process that ended counts as the cause, so that a kill from outside, or another
image of the batch, costs no caption. What ended `MAX_ATTEMPTS` processes is an error; the others are captioned in
their batches, or alone if batches end processes and none of their images does.
"""

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from showtell.bulk.engine import Event, caption_units
from showtell.bulk.units import Failure, Unit, UnitImage
from showtell.errors import ImageError, ShowtellError, reason
from showtell.inference.captioner import Captioner, source_path

MAX_ATTEMPTS = 2
Mark: TypeAlias = Callable[[int, int | None], object]
"""Called before a process captions an image alone, with unit and image, and (None) before it captions batches."""
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
    """The units with which processes have ended, of all processes together."""

    def __init__(self) -> None:
        self._begun: set[int] = set()
        self._tried: dict[int, Tried] = {}
        self._alone: dict[int, int] = {}

    def begin(self, unit: int) -> Tried | None:
        """Return what is known of a unit that a process begins; another that has begun it is taken for ended."""
        if unit in self._begun:
            self.end(unit)
        self._begun.add(unit)
        return self._tried.get(unit)

    def mark(self, unit: int, image: int | None) -> None:
        """Note which image a process has alone, or (None) that it captions batches."""
        self._alone.pop(unit, None)
        if image is not None:
            self._alone[unit] = image

    def end(self, unit: int, how: str = "") -> None:
        """Note that the process with a unit has ended, as ``how`` says."""
        self._begun.discard(unit)
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


def caption_tasks(
    load: Callable[[], Captioner], tasks: Iterable[Task], mark: Mark, *, batch_size: int, **options: Any
) -> Iterator[list[Event] | ShowtellError]:
    """Caption units for another process: yield events in lists that are full or end with a unit, or an error.

    Units with which no process has ended are captioned without a pause between them, any other for itself.
    """
    suspect: Task | None = None

    def units(remaining: Iterator[Task]) -> Iterator[tuple[Unit, int]]:
        nonlocal suspect
        for task in remaining:
            if task.tried is not None:
                suspect = task
                return
            yield task.unit, task.start

    def events(captioner: Captioner, remaining: Iterator[Task]) -> Iterator[Event]:
        nonlocal suspect
        while True:
            yield from caption_units(captioner, units(remaining), batch_size=batch_size, **options)
            if suspect is None:
                return
            yield from _caption_suspect(captioner, suspect, mark, batch_size, options)
            suspect = None

    try:
        some: list[Event] = []
        for event in events(load(), iter(tasks)):
            some.append(event)
            if len(some) == batch_size or event.caption is None:
                yield some
                some = []
    except ShowtellError as error:
        yield error
    except Exception as error:
        traceback.print_exc()
        mend = "Its error is above, or in the logs of the cluster"
        yield ShowtellError("a worker failed", found=reason(error), mend=mend)


def _caption_suspect(
    captioner: Captioner, task: Task, mark: Mark, batch_size: int, options: dict[str, Any]
) -> Iterator[Event]:
    """Try images of a unit alone, each after a ``mark``, then caption it without those that end processes."""
    start, tried = task.start, task.tried or Tried()
    unit = _Spared(task.unit.number, task.unit.content, tried.causes)
    images, end = unit.images(start), start - start % batch_size + max(_MIN_SUSPECTED, 4 * batch_size)
    for index in range(start, end - end % batch_size):
        mark(unit.number, index)
        if (image := next(images, None)) is None:
            break
        if isinstance(image, Failure):
            caption = image.caption
        else:
            caption = next(captioner.stream_batches([[image]], **options))
        if tried.num_ended > MAX_ATTEMPTS:  # batches may end a process by their size
            start = index + 1
            yield Event(unit.number, index, caption)
    mark(unit.number, None)
    yield from caption_units(captioner, [(unit, start)], batch_size=batch_size, **options)


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
