"""A captioner in a process of its own, for applications whose event loop is to answer while it works.

Searching captions holds Python's lock in many small pieces, between which the threads of the same process wait in
turn: an event loop beside two batches answers tens of milliseconds late. The process also has less priority than
the one that uses it, so that on a busy machine too that one answers first.
"""

import os
import signal
import threading
import traceback
from collections.abc import Callable, Mapping
from multiprocessing import Pipe, util
from multiprocessing.connection import Connection
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from showtell.config.generation import DecodingOptions
from showtell.config.preprocessing import Preprocessing
from showtell.errors import ShowtellError
from showtell.generation import OnStep
from showtell.inference.caption import Caption
from showtell.inference.captioner import Captioner
from showtell.system.batch_pool import BatchPool
from showtell.system.child_process import how_ended, lower_priority, spawn
from showtell.system.console import note
from showtell.tokenizer import Tokenizer

_PARTS = 2
"""Batches at once, at most."""


class CaptionerEndedError(ShowtellError):
    """The process of a captioner ended while it captioned images."""


class CaptionerProcess:
    """Captions batches like the `Captioner` that ``load``, which can be pickled, returns in a process of its own.

    A process that ends is replaced when the next batch needs it. `close` ends it.

    Attributes:
        options, preprocessing, grid, place, tokenizer: Those of the captioner.
        networks, facts, datastore_size, is_calibrated: Those of the captioner too.
        batch_pool: As for the captioner; each of its threads has a thread of the process.

    Raises:
        ShowtellError: that of ``load``, or the process cannot be started.
    """

    options: DecodingOptions
    preprocessing: Preprocessing
    grid: tuple[int, int]
    place: str
    tokenizer: Tokenizer
    networks: str
    facts: Mapping[str, Any]
    datastore_size: dict[str, int] | None
    is_calibrated: bool

    def __init__(self, load: Callable[[], Captioner]) -> None:
        self._load, self._lock, self._is_closed = load, threading.Lock(), False
        self._place, self._num_entered = threading.local(), 0
        self._start()
        self.batch_pool = BatchPool(self._num_parts, self._enter)

    def _start(self) -> None:
        pairs = [Pipe() for _ in range(1 + _PARTS)]
        signals = (signal.SIGINT, signal.SIGTERM)
        self._process = spawn(_work, [theirs for _, theirs in pairs], self._load, blocked=signals)
        # Before multiprocessing's own end, which waits for a process that SIGTERM does not reach.
        self._kill = util.Finalize(None, self._process.kill, exitpriority=100)
        for _, theirs in pairs:
            theirs.close()
        self._connections = [ours for ours, _ in pairs]
        try:
            known = self._connections[0].recv()
        except (EOFError, OSError):
            found = f"its end by {how_ended(self._process)}"
            mend = "Its error is above"
            raise ShowtellError("the captioner's process cannot be started", found=found, mend=mend) from None
        if isinstance(known, Exception):
            raise known
        self._num_parts = min(known.pop("parts"), _PARTS)
        self.__dict__.update(known)

    def _enter(self) -> None:
        with self._lock:
            self._num_entered += 1
            self._place.number = self._num_entered

    def close(self) -> None:
        """End the process, with what it captions."""
        self._is_closed = True
        self._kill()
        self._process.join()

    def caption_preprocessed(
        self,
        images: npt.NDArray[np.uint8],
        options: DecodingOptions,
        *,
        attention: bool = False,
        on_step: OnStep | None = None,
    ) -> list[Caption]:
        """See `Captioner.caption_preprocessed`; an unexpected error of the process has its traceback as a note.

        Raises:
            CaptionerEndedError: the process ended with a batch of several, or twice with one image.
        """
        for _ in range(1 if len(images) > 1 else 2):  # the first time another batch may have been the cause
            connections = self._connections
            connection = connections[getattr(self._place, "number", 0)]
            try:
                answer = _exchange(connection, (images, options, attention), on_step)
            except (EOFError, OSError):
                self._replace(connections)
                continue
            if isinstance(answer, Exception):
                raise answer
            return answer
        raise CaptionerEndedError("the captioner's process ended", found=f"{len(images)} images in work")

    def _replace(self, connections: list[Connection]) -> None:
        """Start a new process unless another thread has."""
        with self._lock:
            if self._is_closed or self._connections is not connections:
                return
            note(f"the captioner's process ended by {how_ended(self._process)}; a new one starts")
            self._kill.cancel()
            try:
                self._start()
            except ShowtellError as error:
                note(f"error: {error}")


def _exchange(
    connection: Connection, batch: tuple[Any, ...], on_step: OnStep | None
) -> list[Caption] | Exception:
    connection.send((*batch, on_step is not None))
    while isinstance(answer := connection.recv(), tuple):
        assert on_step is not None
        on_step(*answer)
    return cast(list[Caption] | Exception, answer)


def _work(connections: list[Connection], load: Callable[[], Captioner]) -> None:
    """Load a captioner, say what it is or its error, then caption the batches of each connection in a thread."""
    try:
        captioner = load()
    except ShowtellError as error:
        connections[0].send(error)
        return
    lower_priority()
    pool = captioner.batch_pool
    connections[0].send(
        {name: getattr(captioner, name) for name in CaptionerProcess.__annotations__} | {"parts": pool.count}
    )
    for connection, enter in zip(connections, (lambda: None, *(pool.enter,) * _PARTS), strict=True):
        threading.Thread(target=_caption, args=(connection, captioner, enter)).start()


def _caption(connection: Connection, captioner: Captioner, enter: Callable[[], object]) -> None:
    code = 1
    try:
        enter()
        while True:
            images, options, attention, has_listener = connection.recv()
            on_step: OnStep | None = (lambda *step: connection.send(step)) if has_listener else None
            try:
                answer: Any = captioner.caption_preprocessed(
                    images, options, attention=attention, on_step=on_step
                )
            except Exception as error:
                error.add_note(traceback.format_exc())
                answer = error
            connection.send(answer)
    except (EOFError, OSError):  # the process that wanted captions is gone
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
