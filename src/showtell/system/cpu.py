"""The number of usable cores and threads: a container may have fewer cores than the machine."""

import contextlib
import os
from pathlib import Path

from showtell.errors import ConfigError

CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Microseconds of processor time per period, and the period; ``max`` means unlimited."""


def usable_cores() -> int:
    """Return how many cores this process may keep busy: its affinity, limited by the container's quota."""
    # macOS and Windows have no affinity.
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, _quota(affinity)))


def thread_count(requested: int) -> int:
    """Return the number of threads for a requested number; 0: ``OMP_NUM_THREADS``, else all usable cores.

    Never more than `usable_cores`: with one more, the others wait for it and take many times as long. A negative
    number is a ConfigError.
    """
    if requested < 0:
        expected = "1 or more, or 0: one for each usable core"
        raise ConfigError("threads is out of range", found=str(requested), expected=expected)
    # The first number of a list is for the outermost parallel region.
    variable = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    wanted = requested or (int(variable) if variable.isdecimal() else 0)
    return min(wanted or usable_cores(), usable_cores())


def place_of_process(number: int, count: int, *, device: str, threads: int) -> tuple[str, int]:
    """Return device and threads of one of several processes: its part of the cores, and a GPU if there are any.

    ``device`` may name several (``cuda:0,cuda:1``), which the processes take by turns.
    """
    devices = device.split(",")
    if device in ("auto", "cuda"):
        with contextlib.suppress(ImportError):  # an export needs no torch
            import torch

            devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())] or devices
    return devices[number % len(devices)], max(1, thread_count(threads) // count)


def _quota(default: int) -> int:
    """Return the whole cores of the container's quota."""
    try:
        quota, period = CGROUP_QUOTA.read_text(encoding="ascii").split()
        return int(quota) // int(period)
    except (OSError, ValueError, ZeroDivisionError):  # another system, or unlimited
        return default
