"""Keeps several processes running until a signal ends them."""

import signal
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType

from showtell.errors import ShowtellError
from showtell.system.console import note

_PAUSE = 1.0
"""Seconds before a process is replaced: one that cannot live does not take the whole machine."""


def supervise(start: Callable[[int], BaseProcess], count: int, *, on_end: Callable[[int], None]) -> None:
    """Run ``count`` processes, which ``start`` starts by their number, until SIGTERM or SIGINT.

    One that a signal killed is replaced; one that ends on its own ends the others. ``on_end`` gets the id of each
    that has ended.

    Raises:
        ShowtellError: a process ended on its own.
    """
    processes = [start(number) for number in range(count)]
    is_stopping = is_failed = False

    def stop(received: int = 0, frame: FrameType | None = None) -> None:
        nonlocal is_stopping
        is_stopping = True
        for process in processes:
            process.terminate()

    for received in (signal.SIGTERM, signal.SIGINT):
        signal.signal(received, stop)
    while alive := [process for process in processes if process.is_alive()]:
        wait([process.sentinel for process in alive], timeout=1)
        for number, process in enumerate(processes):
            if process.exitcode is None or is_stopping:
                continue
            on_end(process.pid or 0)
            if process.exitcode >= 0:
                is_failed = True
                stop()
            else:
                note(f"worker {number} was killed by signal {-process.exitcode}; a new one starts")
                time.sleep(_PAUSE)
                processes[number] = start(number)
    if is_failed:
        raise ShowtellError("a worker could not work", mend="Its error is above")
