"""Engines caption units: of this process here, of others in `showtell.bulk.workers` and `showtell.bulk.ray_engine`.

Every engine yields the same events: units in any order, the images of one unit in theirs.
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from showtell.bulk.units import Failure, Unit
from showtell.config.generation import DecodingOptions
from showtell.errors import ConfigError
from showtell.images.load import ImageSource
from showtell.inference.backend import read_facts, with_members
from showtell.inference.caption import Caption
from showtell.inference.captioner import Captioner
from showtell.system.cpu import place_of_process


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


def open_engine(
    path: Path,
    *,
    engine: str = "local",
    workers: int | None = None,
    device: str = "auto",
    threads: int = 0,
    encoder_weights: Path | None = None,
    ensemble_with: Sequence[Path] = (),
) -> Engine:
    """Return the engine ``local`` or ``ray`` for a checkpoint or an export, which no process loads yet.

    Args:
        path: The directory of the captioner, on every machine of a cluster.
        engine: ``local`` has processes of this machine.
        workers: Processes; None: one for each of several devices, and with Ray as many as fit the cluster.
        device: As for `Captioner.load`, or several: ``cuda:0,cuda:1``.
        threads: CPU threads of all processes of this machine, or with Ray of each; 0: all cores.
        encoder_weights: As for `Captioner.load`.
        ensemble_with: As for `Captioner.load`; directories.

    Raises:
        ConfigError: less than one worker.
        CheckpointError: not a captioner.
    """
    if workers is not None and workers < 1:
        raise ConfigError("--workers is out of range", found=str(workers), expected="1 or more")
    from showtell.bulk.workers import Workers

    facts, options = read_facts(path)
    facts = dict(with_members(facts, [read_facts(other)[0] for other in ensemble_with]))
    load = partial(
        Captioner.load,
        path.resolve(),
        encoder_weights=encoder_weights and encoder_weights.resolve(),
        ensemble_with=[other.resolve() for other in ensemble_with],
    )
    if engine == "ray":
        from showtell.bulk.ray_engine import RayEngine

        return RayEngine(load, facts, options, workers=workers, device=device, threads=threads)
    count = workers or len(device.split(","))
    places = [place_of_process(number, count, device=device, threads=threads) for number in range(count)]
    return Workers([partial(load, device=place, threads=each) for place, each in places], facts, options)


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
