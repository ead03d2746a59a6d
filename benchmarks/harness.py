"""Works measured side by side, and the rows of the table that come of it.

The speed of a shared machine drifts by more than most differences worth knowing. So works that are compared take
turns in one process, every round in the other order, and their ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Work = Callable[[], object]
Unit = Literal["x", "%", "s", "points"]

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Setting:
    """What a run of the benchmarks was asked for.

    Attributes:
        folder: For files that are made; removed at the end.
        quick: Fewer rounds of less: the harness is tried, the figures are rough.
        full: Growth up to a million.
        captioner: A checkpoint; None: one of random weights.
        encoder_weights: Its encoder's weights, where they are not in it.
        data: A prepared set with real captions; None: made up.
        images: A folder of photographs that files of real sizes are made of; None: noise like photographs.
        references: A file of captions as `showtell score` reads them; None: made up.
    """

    folder: Path
    quick: bool = False
    full: bool = False
    captioner: Path | None = None
    encoder_weights: Path | None = None
    data: Path | None = None
    images: Path | None = None
    references: Path | None = None

    def rounds(self, usual: int) -> int:
        """Return how often works take turns."""
        return min(2, usual) if self.quick else usual

    def size(self, usual: int, quick: int) -> int:
        """Return how much of something is measured."""
        return quick if self.quick else usual


@dataclass(frozen=True)
class Timing:
    """The seconds of each round."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.rounds)

    def ratio(self, other: Timing) -> float:
        """Return how many times as long the other takes: the median over the rounds."""
        return statistics.median(self._ratios(other))

    def spread(self, other: Timing) -> tuple[float, float]:
        """Return the smallest and the largest ratio of a round."""
        ratios = self._ratios(other)
        return min(ratios), max(ratios)

    def times(self, factor: float) -> Timing:
        """Return what so many times as much would have taken."""
        return Timing(tuple(factor * seconds for seconds in self.rounds))

    def rate(self, count: int) -> float:
        """Return how many of something are done in a second."""
        return count / self.median

    def _ratios(self, other: Timing) -> list[float]:
        return [theirs / ours for ours, theirs in zip(self.rounds, other.rounds, strict=True)]


def take_turns(works: Mapping[str, Work], rounds: int, *, warm_up: bool = True) -> dict[str, Timing]:
    """Measure works in turn, every second round backwards.

    Args:
        works: By name.
        rounds: How often each is measured.
        warm_up: Do each once before, unmeasured. Of three rounds the median leaves a slow first one out as well.
    """
    if warm_up:
        for work in works.values():
            work()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    names = list(works)
    for turn in range(rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            gc.collect()
            seconds[name].append(seconds_of(works[name]))
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def seconds_of(work: Work) -> float:
    """Return how long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        work: What is done.
        against: What it is compared with.
        figure: What came out; None where it could not be measured.
        target: The figure to reach.
        unit: Of both: times, per cent (of 1.0), seconds, points.
        at_most: Whether the target is an upper bound; else a lower one.
        measured: Seconds and rates, in words; why, where nothing was measured.
        details: All that was measured, for the results.
    """

    work: str
    against: str
    figure: float | None
    target: float
    unit: Unit = "x"
    at_most: bool = False
    measured: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None where nothing was measured."""
        if self.figure is None:
            return None
        return self.figure <= self.target if self.at_most else self.figure >= self.target

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**asdict(self), "reached": self.reached}


def compare(
    work: str,
    against: str,
    timings: Mapping[str, Timing],
    *,
    ours: str,
    theirs: str,
    target: float,
    at_most: bool = False,
    unit: Unit = "x",
    count: int = 0,
    of: str = "",
    **details: Any,
) -> Row:
    """Return the row that compares our seconds with theirs.

    Args:
        work: What is done.
        against: What it is compared with.
        timings: Of works that took turns.
        ours: Name of our work.
        theirs: Name of the other.
        target: Theirs over ours at least, or (``at_most``) ours over theirs at most.
        at_most: Which of the two.
        unit: Of the figure.
        count: How many of something both do; 0: report seconds.
        of: Of what ("images").
        details: More for the results.
    """
    one, other = (timings[theirs], timings[ours]) if at_most else (timings[ours], timings[theirs])
    low, high = one.spread(other)
    mine, its = timings[ours], timings[theirs]
    if count:
        measured = f"{mine.rate(count):,.1f} against {its.rate(count):,.1f} {of}/s"
    else:
        measured = f"{mine.median:.3f} s against {its.median:.3f} s"
    numbers = {
        "spread": [low, high],
        "seconds": {name: list(timing.rounds) for name, timing in timings.items()},
        **({"count": count, "of": of} if count else {}),
        **details,
    }
    return Row(work, against, one.ratio(other), target, unit, at_most, measured, numbers)


def skipped(
    work: str, against: str, target: float, why: str, *, unit: Unit = "x", at_most: bool = False
) -> Row:
    """Return a row that could not be measured, and why."""
    return Row(work, against, None, target, unit, at_most, f"not measured: {why}")


def apart(function: str, **arguments: Any) -> dict[str, Any]:
    """Call a function in a process of its own and return what it returned.

    Args:
        function: ``module:name``; takes the arguments, returns JSON values.
        arguments: JSON values.

    Raises:
        RuntimeError: the process failed; the message has the end of its output.
    """
    command = [sys.executable, "-m", "benchmarks.apart", function, json.dumps(arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{function} failed: {done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


Group = Callable[[Setting], Iterator[Row]]
