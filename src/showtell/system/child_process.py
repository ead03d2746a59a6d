"""Processes that this one starts from Python, apart from the signals that reach a whole group of processes."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Collection
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any

END_SECONDS = 5.0
_NICE = 5  # of 19: a third of what another busy process gets


def spawn(
    target: Callable[..., object], *arguments: Any, blocked: Collection[signal.Signals] = (signal.SIGINT,)
) -> BaseProcess:
    """Start a process of a function and arguments that can be pickled; ``blocked`` signals never reach it.

    Ctrl-C in a terminal reaches all processes, and systemd's SIGTERM too: this one is to end the others.
    """
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments, daemon=True)
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        process.start()
        return process
    resource_tracker.ensure_running()  # its own start would unblock them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return process


def lower_priority() -> None:
    """Let this process work when others do not: on a busy machine, the one that answers requests comes first."""
    if hasattr(os, "nice"):
        os.nice(_NICE)


def how_ended(process: BaseProcess) -> str:
    """Return how a process ended, as words; one that closes its pipes but stays is killed."""
    process.join(END_SECONDS)
    process.kill()
    process.join()
    code = process.exitcode or 0
    return f"signal {-code}" if code < 0 else f"exit code {code}"
