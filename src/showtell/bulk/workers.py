"""Captions units in several processes of this machine; one that ends is replaced, and its units resume.

This process hands out units and takes captions. A worker ends when the pipe to this process closes, however that
comes about.
"""

import contextlib
import multiprocessing
import os
import queue
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Any

from showtell.bulk.attempts import Attempts, Task, caption_task
from showtell.bulk.engine import Event, caption_units
from showtell.bulk.units import Unit
from showtell.config.generation import DecodingOptions
from showtell.errors import ShowtellError, reason
from showtell.inference.captioner import Captioner
from showtell.system.child_process import END_SECONDS, how_ended, spawn
from showtell.system.console import note

_UNITS = 2
"""Units that a worker holds: it reads the next while it captions the last batches of one."""
_MAX_STARTS = 3

Load = Callable[[], Captioner]


class Workers:
    """Captions in one process for each of ``loads``, functions that load a captioner and can be pickled."""

    def __init__(self, loads: Sequence[Load], facts: Mapping[str, Any], options: DecodingOptions) -> None:
        self.facts, self.options, self.place = facts, options, f"{len(loads)} processes"
        self._loads = loads

    def events(self, work: Iterable[tuple[Unit, int]], **options: Any) -> Generator[Event, None, None]:
        """See `showtell.bulk.engine.Engine`.

        Raises:
            ShowtellError: a worker cannot be started, or its captioner not loaded or not used with these options.
        """
        waiting, attempts, workers = _Waiting(work), Attempts(), list[_Worker]()
        try:
            for number, load in enumerate(self._loads):
                workers.append(_Worker(number, load, options))
            while waiting or any(worker.held for worker in workers):
                for worker in workers:
                    worker.feed(waiting, attempts)
                ready = set(wait([place for worker in workers for place in worker.places]))
                for worker in workers:
                    if ready.intersection(worker.places):
                        yield from worker.receive(waiting, attempts)
        finally:
            for worker in workers:
                worker.end()


@dataclass
class _Held:
    """A unit, the next image to come, whether any has come, and whether a process has ended without any."""

    unit: Unit
    next: int
    has_come: bool = False
    is_tried: bool = False


class _Waiting:
    """Units that no worker holds: those of workers that have ended, then new ones."""

    def __init__(self, work: Iterable[tuple[Unit, int]]) -> None:
        self._work, self._units = iter(work), deque[_Held]()

    def __bool__(self) -> bool:
        if not self._units:
            self._units.extend(_Held(unit, start) for unit, start in islice(self._work, 1))
        return bool(self._units)

    def take(self) -> _Held:
        return self._units.popleft()

    def put_back(self, units: Iterable[_Held]) -> None:
        self._units.extendleft(units)


class _Worker:
    """A process, the pipe to it, and the units that it holds, by number."""

    def __init__(self, number: int, load: Load, options: dict[str, Any]) -> None:
        self.held: dict[int, _Held] = {}
        self._number, self._arguments, self._num_starts = number, (load, options), 0
        self._start()

    def _start(self) -> None:
        self._num_starts += 1
        self._is_ready = False
        self._connection, theirs = multiprocessing.Pipe()
        self._process = spawn(_work, theirs, *self._arguments)
        theirs.close()
        self.places = (self._connection, self._process.sentinel)

    def feed(self, waiting: _Waiting, attempts: Attempts) -> None:
        """Give the worker units; after one with which a process has ended, none before it is finished."""
        while (
            self._is_ready
            and len(self.held) < _UNITS
            and not any(each.is_tried for each in self.held.values())
        ):
            if not waiting:
                return
            held = waiting.take()
            tried = attempts.tried(held.unit.number)
            held.is_tried = tried is not None
            self.held[held.unit.number] = held
            with contextlib.suppress(OSError):  # the worker has ended, which is noticed when its pipe is read
                self._connection.send(Task(held.unit, held.next, tried))

    def receive(self, waiting: _Waiting, attempts: Attempts) -> Iterator[Event]:
        """Take a message of the worker, or notice that it has ended."""
        try:
            if not self._connection.poll():
                raise EOFError
            message = self._connection.recv()
        except (EOFError, OSError):
            self._replace(waiting, attempts)
            return
        if isinstance(message, ShowtellError):
            raise message
        if message is None:
            self._is_ready, self._num_starts = True, 0
        elif isinstance(message, tuple):
            attempts.mark(*message)
        else:
            for event in message:
                if event.caption is None:
                    attempts.forget(event.unit)
                    del self.held[event.unit]
                else:
                    self.held[event.unit].next, self.held[event.unit].has_come = event.index + 1, True
                yield event

    def _replace(self, waiting: _Waiting, attempts: Attempts) -> None:
        how, code = how_ended(self._process), self._process.exitcode or 0
        self._connection.close()
        if not self._is_ready and (code >= 0 or self._num_starts == _MAX_STARTS):
            raise ShowtellError(
                "a worker cannot be started", found=f"its end by {how}", mend="Its error is above"
            )
        note(f"worker {self._number} ended by {how}; a new one starts")
        for first in list(self.held.values())[:1]:  # the others may not have been read
            if first.has_come:
                attempts.forget(first.unit.number)
            else:
                attempts.end(first.unit.number, how)
        waiting.put_back(_Held(each.unit, each.next) for each in reversed(self.held.values()))
        self.held.clear()
        self._start()

    def end(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join(END_SECONDS)
        self._process.kill()
        self._process.join()
        self._connection.close()


def _work(connection: Connection, load: Load, options: dict[str, Any]) -> None:
    """Load a captioner, say so (None), then caption tasks as they come into lists of events.

    An error is a message too, and before each image that is captioned alone its unit and number.
    """
    inbox = queue.SimpleQueue[Task]()
    threading.Thread(target=_read, args=(connection, inbox), daemon=True).start()
    try:
        captioner = load()
        connection.send(None)
        while True:
            _caption(captioner, inbox, connection, options)
    except ShowtellError as error:
        connection.send(error)
    except Exception as error:
        traceback.print_exc()
        connection.send(ShowtellError("a worker failed", found=reason(error), mend="Its error is above"))


def _read(connection: Connection, inbox: "queue.SimpleQueue[Task]") -> None:
    try:
        while True:
            inbox.put(connection.recv())
    except (EOFError, OSError):
        os._exit(1)  # the process that wanted the captions is gone


def _caption(
    captioner: Captioner,
    inbox: "queue.SimpleQueue[Task]",
    connection: Connection,
    options: dict[str, Any],
) -> None:
    """Caption tasks in batches until none is there, or one with which a process has ended; then that one."""
    task: Task | None = inbox.get()

    def units() -> Iterator[tuple[Unit, int]]:
        nonlocal task
        while task is not None and task.tried is None:
            yield task.unit, task.start
            # Without waiting: what is read ahead is captioned once the units end.
            task = None if inbox.empty() else inbox.get()

    events = list[Event]()
    for event in caption_units(captioner, units(), **options):
        events.append(event)
        if len(events) == options["batch_size"] or event.caption is None:
            connection.send(events)
            events = []
    if task is not None:
        for event in caption_task(captioner, task, partial(_mark, connection, task.unit.number), **options):
            connection.send([event])


def _mark(connection: Connection, unit: int, image: int | None) -> None:
    connection.send((unit, image))
