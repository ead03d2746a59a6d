"""How many threads there shall be: containers lend fewer cores than the machine has, and say so in two places."""

from __future__ import annotations

import os
from pathlib import Path

from showtell.errors import ConfigError

CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Microseconds of processor time and of the period they are for; ``max`` where there is no bound."""


def usable_cores() -> int:
    """Return how many cores this process may keep busy: its affinity, and its container's share of time."""
    # macOS and Windows tell no affinity.
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, _quota(affinity)))


def thread_count(asked: int) -> int:
    """Return how many threads are used where so many are asked for; 0: ``OMP_NUM_THREADS``, else all usable cores.

    Never more than `usable_cores`: with one more the others wait for it, and take many times as long.

    Raises:
        ConfigError: a negative number.
    """
    if asked < 0:
        raise ConfigError(
            "threads is out of range", found=str(asked), expected="1 or more, or 0: one for each usable core"
        )
    # A list is for nested regions; its first number counts.
    told = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    wanted = asked or (int(told) if told.isdecimal() else 0)
    return min(wanted or usable_cores(), usable_cores())


def _quota(otherwise: int) -> int:
    """Return the whole cores of a container's share of time; less than one is one."""
    try:
        quota, period = CGROUP_QUOTA.read_text(encoding="ascii").split()
        return int(quota) // int(period)
    except (OSError, ValueError, ZeroDivisionError):  # another system, or no bound
        return otherwise
