"""Which device a name means, and how many threads: chosen in one place, for training and for captioning."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from threading import Thread

import torch

from showtell.errors import ConfigError
from showtell.system.batch_pool import BatchPool
from showtell.system.cpu import thread_count, usable_cores

LANES = 2
"""Batches that are captioned at once on a CPU: one is searched while the other is looked at."""


def choose_device(name: str, *, auto: Sequence[str] = ("cuda", "mps")) -> torch.device:
    """Return the device of a name, after a try whether it works.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; ``auto`` is the first that is there of those in ``auto``, else
            the CPU.
        auto: See there.

    Raises:
        ConfigError: no such device here.
    """
    if name == "auto":
        there = {"cuda": torch.cuda.is_available, "mps": torch.mps.is_available}
        name = next((kind for kind in auto if there[kind]()), "cpu")
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


def set_num_threads(asked: int, *, processes: int = 1) -> int:
    """Let torch compute in so many threads on the CPU, and return how many.

    Args:
        asked: See `showtell.system.cpu.thread_count`; 0 leaves fewer as they were set before.
        processes: That share the cores.

    Raises:
        ConfigError: a negative number.
    """
    count = max(1, min(thread_count(asked), usable_cores() // processes))
    if asked or torch.get_num_threads() > count:
        torch.set_num_threads(count)
    return torch.get_num_threads()


def make_batch_pool(device: torch.device) -> BatchPool:
    """Return lanes that share torch's threads on the CPU; one lane where there is a single one, or another device."""
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads < LANES:
        return BatchPool()
    return BatchPool(LANES, partial(_take_share, threads // LANES, threads))


def _take_share(share: int, threads: int) -> None:
    """Let this thread compute in so many of the threads, and no other thread in fewer than before."""
    # When a thread first asks it gets the number that was set last, by whomever, and from then on has its own.
    torch.get_num_threads()
    torch.set_num_threads(share)
    last = Thread(target=torch.set_num_threads, args=(threads,))
    last.start()
    last.join()
