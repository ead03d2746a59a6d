"""Torch's threads: as many as are asked for, and never more than there are cores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from showtell.captioner import Captioner
from showtell.errors import ConfigError
from showtell.models import device
from showtell.models.device import use_threads


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A machine that lends six cores and a torch that uses four; return what it is set to."""
    used = [4]
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("showtell.cores.usable_cores", lambda: 6)
    monkeypatch.setattr(device, "usable_cores", lambda: 6)
    monkeypatch.setattr(torch, "get_num_threads", lambda: used[-1])
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    return used


@pytest.mark.parametrize(
    ("asked", "processes", "expected"),
    [(0, 1, 4), (2, 1, 2), (5, 1, 5), (99, 1, 6), (0, 3, 2), (6, 2, 3), (1, 9, 1)],
)
def test_threads_are_what_is_asked_for_within_the_cores(
    threads: list[int], asked: int, processes: int, expected: int
) -> None:
    assert use_threads(asked, processes=processes) == expected
    assert threads[-1] == expected


def test_what_an_application_has_set_is_left_unless_it_is_too_much(threads: list[int]) -> None:
    use_threads(0)
    assert threads == [4]
    threads.append(64)
    assert use_threads(0) == 6


def test_a_captioner_computes_in_the_threads_it_is_given(
    threads: list[int], tiny_checkpoint: Callable[[str], Path]
) -> None:
    Captioner.load(tiny_checkpoint("attention"), device="cpu", threads=3)
    assert threads[-1] == 3
    with pytest.raises(ConfigError, match="threads is out of range"):
        Captioner.load(tiny_checkpoint("attention"), device="cpu", threads=-2)
