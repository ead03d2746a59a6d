"""Which device a name means, and how many threads: chosen in one place, for training and for captioning."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from showtell.cores import thread_count, usable_cores
from showtell.errors import ConfigError


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


def use_threads(asked: int, *, processes: int = 1) -> int:
    """Let torch compute in so many threads on the CPU, and return how many.

    Args:
        asked: See `showtell.cores.thread_count`; 0 leaves fewer as they were set before.
        processes: That share the cores.

    Raises:
        ConfigError: a negative number.
    """
    count = max(1, min(thread_count(asked), usable_cores() // processes))
    if asked or torch.get_num_threads() > count:
        torch.set_num_threads(count)
    return torch.get_num_threads()
