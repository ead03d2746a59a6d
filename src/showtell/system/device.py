"""The choice of device and threads, shared by training and captioning."""

from collections.abc import Sequence
from functools import partial
from threading import Thread

import torch

from showtell.errors import ConfigError
from showtell.system.batch_pool import BatchPool
from showtell.system.cpu import thread_count, usable_cores

WORKERS = 2
"""Batches captioned at once on a CPU: one is decoded while the other is encoded."""


def choose_device(name: str, *, auto: Sequence[str] = ("cuda", "mps")) -> torch.device:
    """Return a device (``cpu``, ``cuda``, ``cuda:1``, ``mps``) after checking that it works; ConfigError if not.

    The name ``auto`` is the first available one of the candidates ``auto``, else the CPU.
    """
    if name == "auto":
        available = {"cuda": torch.cuda.is_available, "mps": torch.mps.is_available}
        name = next((kind for kind in auto if available[kind]()), "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"the device '{name}' cannot be used",
            found=str(error).splitlines()[0],
            expected="auto, cpu, cuda, cuda:0, mps",
        ) from error
    return device


def set_num_threads(requested: int, *, processes: int = 1) -> int:
    """Set torch's number of CPU threads by `thread_count`, where 0 keeps a smaller number, and return it.

    Several ``processes`` share the cores.
    """
    count = max(1, min(thread_count(requested), usable_cores() // processes))
    if requested or torch.get_num_threads() > count:
        torch.set_num_threads(count)
    return torch.get_num_threads()


def make_batch_pool(device: torch.device) -> BatchPool:
    """Return a pool whose workers share torch's CPU threads; one worker for a single thread or another device."""
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads < WORKERS:
        return BatchPool()
    return BatchPool(WORKERS, partial(_limit_thread, threads // WORKERS, threads))


def _limit_thread(count: int, default: int) -> None:
    """Set the number of torch threads of the current thread, keeping ``default`` for new threads."""
    # A thread takes the last number set by any thread when it first asks, and then has its own.
    torch.get_num_threads()
    torch.set_num_threads(count)
    last = Thread(target=torch.set_num_threads, args=(default,))
    last.start()
    last.join()
