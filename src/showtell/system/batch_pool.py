"""A pool of threads that processes batches concurrently, each on some of the cores, with results in order.

Decoding consists of many small steps, which several cores share badly. Two batches at once, each on half of the
cores, leave none idle: one is decoded while the other is encoded.
"""

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


class Cancelled(Exception):  # noqa: N818 - control flow: nothing waits for this work any more
    """The batch of this worker is no longer needed."""


_cancel_event: ContextVar[threading.Event | None] = ContextVar("cancel_event", default=None)


def map_ahead(
    work: Callable[[B], R], items: Iterable[B], *, workers: int, ahead: int, name: str = "ahead"
) -> Generator[R, None, None]:
    """Yield the result of each item, in order, computed by threads at most ``ahead`` items ahead."""
    pending = deque[Future[R]]()
    pool = ThreadPoolExecutor(workers, thread_name_prefix=name)
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def check_cancelled() -> None:
    """Raise `Cancelled` if this worker was cancelled; long work calls it regularly, so that a stream ends at once."""
    event = _cancel_event.get()
    if event is not None and event.is_set():
        raise Cancelled


def cancellable(parts: Iterable[B]) -> Iterator[B]:
    """Yield parts of long work, with `check_cancelled` before each."""
    for part in parts:
        check_cancelled()
        yield part


@dataclass(frozen=True)
class BatchPool:
    """Processes ``count`` batches at once: one in the caller's thread, more in threads that call ``enter`` first."""

    count: int = 1
    enter: Callable[[], object] = lambda: None

    def map(self, work: Callable[[B], R], batches: Iterable[B]) -> Generator[R, None, None]:
        """Yield the result of each batch, in order, reading one batch more ahead than there are workers.

        A single batch is processed in the caller's thread. If reading a batch fails, the results of earlier batches
        are yielded first. A failing batch, or closing the generator, cancels all workers.
        """
        stream = iter(batches)
        batch = next(stream, None)
        following = None if batch is None else next(stream, None)
        if batch is not None and following is not None and self.count > 1:
            yield from self._concurrently(work, deque((batch, following)), stream)
            return
        while batch is not None:
            yield work(batch)
            batch, following = following, next(stream, None)

    def _concurrently(self, work: Callable[[B], R], read: deque[B], stream: Iterator[B]) -> Iterator[R]:
        cancel, running = threading.Event(), deque[Future[R]]()
        failure: Exception | None = None
        with ThreadPoolExecutor(
            self.count, thread_name_prefix="batch", initializer=self._start, initargs=(cancel,)
        ) as workers:
            try:
                while read or running:
                    while read and len(running) < self.count:
                        running.append(workers.submit(work, read.popleft()))
                        try:
                            read.extend(islice(stream, 0 if read else 1))
                        except Exception as error:
                            failure = error
                    yield running.popleft().result()
            finally:
                cancel.set()
        if failure is not None:
            raise failure

    def _start(self, cancel: threading.Event) -> None:
        _cancel_event.set(cancel)
        self.enter()
