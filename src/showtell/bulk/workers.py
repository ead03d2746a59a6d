"""Captions units in several processes of this machine; one that ends is replaced, and its units resume.

A worker requests a unit as soon as it has read the one before, and sends captions back through a pipe. It ends with
this process, however that ends.
"""

import contextlib
import functools
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from showtell.bulk.attempts import Attempts, Task, caption_tasks
from showtell.bulk.engine import Event
from showtell.bulk.units import Unit
from showtell.config.generation import DecodingOptions
from showtell.errors import ShowtellError
from showtell.inference.captioner import Captioner
from showtell.system.child_process import END_SECONDS, how_ended, spawn
from showtell.system.console import note

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
        new, resumed = (_Held(unit, start) for unit, start in work), deque[_Held]()
        attempts, workers = Attempts(), list[_Worker]()
        try:
            for number, load in enumerate(self._loads):
                workers.append(_Worker(number, load, options))
            while True:
                for worker in workers:
                    if worker.is_waiting:
                        worker.feed(resumed.popleft() if resumed else next(new, None), attempts)
                if any(each.is_waiting for each in workers) and not any(each.held for each in workers):
                    return
                ready = set(wait([place for worker in workers for place in worker.places]))
                for worker in workers:
                    if ready.intersection(worker.places):
                        yield from worker.receive(resumed, attempts)
        finally:
            for worker in workers:
                worker.end()


@dataclass
class _Held:
    """A unit, the next image to come, and whether any has come since its worker got it."""

    unit: Unit
    next: int
    has_come: bool = False


class _Worker:
    """A process, the pipe to it, the units that it holds, by number, and whether it waits for the next."""

    def __init__(self, number: int, load: Load, options: dict[str, Any]) -> None:
        self._number, self._arguments, self._num_starts = number, (load, options), 0
        self._start()

    def _start(self) -> None:
        self.is_waiting, self.held = False, dict[int, _Held]()
        self._num_starts += 1
        self._connection, theirs = multiprocessing.Pipe()
        self._process = spawn(_work, theirs, *self._arguments)
        theirs.close()
        self.places = (self._connection, self._process.sentinel)

    def feed(self, held: _Held | None, attempts: Attempts) -> None:
        """Give the worker a unit; if there is none, let it caption what it has read, or wait."""
        if held is None and not self.held:
            return
        task = None
        if held is not None:
            self.held[held.unit.number] = held
            task = Task(held.unit, held.next, attempts.begin(held.unit.number))
        self.is_waiting = False
        with contextlib.suppress(OSError):  # the worker has ended, which is noticed when its pipe is read
            self._connection.send(task)

    def receive(self, resumed: deque[_Held], attempts: Attempts) -> Iterator[Event]:
        """Take a message of the worker, or notice that it has ended."""
        try:
            if not self._connection.poll():
                raise EOFError
            message = self._connection.recv()
        except (EOFError, OSError):
            self._replace(resumed, attempts)
            return
        if isinstance(message, ShowtellError):
            raise message
        if message is None:
            self.is_waiting, self._num_starts = True, 0
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

    def _replace(self, resumed: deque[_Held], attempts: Attempts) -> None:
        """Start another process; a unit that came no further may have been the cause if it is the first."""
        how, code = how_ended(self._process), self._process.exitcode or 0
        self._connection.close()
        if self._num_starts and (code >= 0 or self._num_starts == _MAX_STARTS):
            raise ShowtellError(
                "a worker cannot be started", found=f"its end by {how}", mend="Its error is above"
            )
        note(f"worker {self._number} ended by {how}; a new one starts")
        for place, held in enumerate(self.held.values()):
            if place or held.has_come:
                attempts.forget(held.unit.number)
            else:
                attempts.end(held.unit.number, how)
            resumed.append(_Held(held.unit, held.next))
        self._start()

    def end(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join(END_SECONDS)
        self._process.kill()
        self._process.join()
        self._connection.close()


def _work(connection: Connection, load: Load, options: dict[str, Any]) -> None:
    """Request tasks (None) and caption them into lists of events; an error is a message too, and the last."""
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def send(message: object) -> None:
        try:
            connection.send(message)
        except OSError:
            os._exit(1)

    def tasks() -> Iterator[Task]:
        while True:
            send(None)
            try:
                task = connection.recv()
            except (EOFError, OSError):
                os._exit(1)
            if task is None:
                return
            yield task

    loaded = functools.cache(load)
    while True:
        for message in caption_tasks(loaded, tasks(), lambda *image: send(image), **options):
            send(message)
            if isinstance(message, ShowtellError):
                return


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
