"""What came of a job: counts and problems, and the progress until then."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from showtell.bulk.writers import Row
from showtell.system.console import progress_bar

MAX_PROBLEMS = 10
_FIRST_SECONDS, _LEAST_SECONDS = 1.0, 4.0
"""Images of the first batch come at once, and say nothing about the next; a rate is of some seconds."""


@dataclass
class CaptioningReport:
    """What came of the images.

    Attributes:
        num_captioned: Images with a caption.
        num_failed: Images and sources without one.
        problems: The first of the problems, whole.
        kinds: The number of problems of each kind.
    """

    num_captioned: int = 0
    num_failed: int = 0
    problems: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, row: Row) -> None:
        """Count a row."""
        if "error" in row:
            self.fail(row["error"])
        else:
            self.num_captioned += 1

    def fail(self, problem: str) -> None:
        """Count a problem."""
        self.num_failed += 1
        self.count(problem)

    def count(self, problem: str) -> None:
        """Count a problem that cost no caption."""
        self.kinds[_kind(problem)] += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)


@contextmanager
def show_progress(total: int | None, *, done: int = 0, quiet: bool = False) -> Iterator[Callable[[], None]]:
    """Show progress with the rate and the time left, unless the rows themselves go to the terminal."""
    if quiet:
        yield lambda: None
        return
    rate = _Rate()
    with progress_bar("captioning", total, unit="images") as move:
        move(done, "")

        def advance() -> None:
            speed = rate.count()
            if speed is None:
                move(1, "")
                return
            left = "" if total is None else f", {_duration((total - done - rate.num) / speed)} left"
            move(1, f"{speed:.1f} images/s{left}")

        yield advance


class _Rate:
    """Images per second, from the end of the first ones on: they waited for the networks to load and warm up."""

    def __init__(self) -> None:
        self.num = self._num_first = 0
        self._first = self._from = self._last = 0.0

    def count(self) -> float | None:
        """Count an image; return the rate of those before it, None as long as it means nothing.

        This image is often the first of its batch.
        """
        seconds = self._last - self._from
        rate = (self.num - self._num_first) / seconds if seconds >= _LEAST_SECONDS else None
        self.num += 1
        self._last = time.monotonic()
        self._first = self._first or self._last
        if self._last - self._first < _FIRST_SECONDS:
            self._from, self._num_first = self._last, self.num
        return rate


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes}:{seconds:02d}"


def _kind(problem: str) -> str:
    """Return what was found, without numbers: what many images have in common."""
    found = problem.partition(": found ")[2] or problem
    return re.sub(r"[0-9][0-9,.]*", "N", re.split(r"[;(]|\. ", found)[0]).strip()
