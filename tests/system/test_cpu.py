"""Threads: never more than there are cores to run them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from showtell.errors import ConfigError
from showtell.system import cpu as cores
from showtell.system.cpu import thread_count, usable_cores


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine that lends eight cores; return where its container's share is told."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(cores, "CGROUP_QUOTA", tmp_path / "cpu.max")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return tmp_path / "cpu.max"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("350000 100000\n", 3),  # a fourth would be held up for half of each period
        ("50000 100000\n", 1),
        ("1600000 100000\n", 8),
        ("nonsense", 8),
        ("100000 0\n", 8),
    ],
)
def test_a_container_lends_a_fraction_of_the_cores(eight_cores: Path, told: str, expected: int) -> None:
    eight_cores.write_text(told)
    assert usable_cores() == expected


def test_cores_are_counted_where_no_affinity_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_cores() == 8
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert usable_cores() == 5
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


@pytest.mark.parametrize(
    ("asked", "told", "expected"),
    [
        (0, None, 8),
        (3, None, 3),
        (99, None, 8),
        (0, "2", 2),
        (0, "2,1", 2),
        (0, "64", 8),
        (4, "2", 4),
        (0, "", 8),
    ],
)
def test_what_is_checked_for_goes_before_the_environment_and_neither_above_the_cores(
    monkeypatch: pytest.MonkeyPatch, asked: int, told: str | None, expected: int
) -> None:
    if told is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert thread_count(asked) == expected


def test_a_negative_number_of_threads_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"threads is out of range: found -1; expected 1 or more"):
        thread_count(-1)
