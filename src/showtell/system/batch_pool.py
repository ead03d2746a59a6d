"""Batches worked on side by side: every lane is a thread with its share of the cores, and results come in order.

A search is many small steps, which several cores share badly: between any two of them all but one wait. Two batches
at once, each on its half of the cores, leave none idle, and one is searched while the other is looked at.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

B = TypeVar("B")
R = TypeVar("R")


class Cancelled(Exception):  # noqa: N818  (no error: it ends work that nobody waits for)
    """Nobody waits for this lane's batch any more."""


_told_to_stop: ContextVar[threading.Event | None] = ContextVar("told_to_stop", default=None)


def check_cancelled() -> None:
    """Do nothing, or in a lane that was told to stop end its work.

    Long work calls it now and then, so that an interrupted stream ends as soon as work in the caller's thread would.

    Raises:
        Stopped: in such a lane alone.
    """
    told = _told_to_stop.get()
    if told is not None and told.is_set():
        raise Cancelled


def cancellable(parts: Iterable[B]) -> Iterator[B]:
    """Yield parts of long work, `check_cancelled` before each."""
    for part in parts:
        check_cancelled()
        yield part


@dataclass(frozen=True)
class BatchPool:
    """How many batches may be worked on at once.

    Attributes:
        count: 1: in the caller's thread.
        enter: What the thread of each lane does first.
    """

    count: int = 1
    enter: Callable[[], object] = lambda: None

    def map(self, work: Callable[[B], R], batches: Iterable[B]) -> Generator[R, None, None]:
        """Yield what work gives of each batch, in order; one batch more than there are lanes is read ahead.

        A batch that is alone is worked on in the caller's thread. Where the batches end with an error, what came
        before it is yielded first. An error of work, or a stream that is left, stops all lanes.
        """
        coming = iter(batches)
        batch = next(coming, None)
        following = None if batch is None else next(coming, None)
        if batch is not None and following is not None and self.count > 1:
            yield from self._side_by_side(work, deque((batch, following)), coming)
            return
        while batch is not None:
            yield work(batch)
            batch, following = following, next(coming, None)

    def _side_by_side(self, work: Callable[[B], R], read: deque[B], coming: Iterator[B]) -> Iterator[R]:
        stop, under_way = threading.Event(), deque[Future[R]]()
        failure: Exception | None = None
        with ThreadPoolExecutor(
            self.count, thread_name_prefix="lane", initializer=self._begin, initargs=(stop,)
        ) as lanes:
            try:
                while read or under_way:
                    while read and len(under_way) < self.count:
                        under_way.append(lanes.submit(work, read.popleft()))
                        try:
                            read.extend(islice(coming, 0 if read else 1))
                        except Exception as error:
                            failure = error
                    yield under_way.popleft().result()
            finally:
                stop.set()
        if failure is not None:
            raise failure

    def _begin(self, stop: threading.Event) -> None:
        _told_to_stop.set(stop)
        self.enter()
