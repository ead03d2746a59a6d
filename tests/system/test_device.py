"""Torch's threads: as many as are asked for, and never more than there are cores."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from showtell.errors import ConfigError
from showtell.inference.captioner import Captioner
from showtell.system import device
from showtell.system.device import make_batch_pool, set_num_threads


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A machine that lends six cores and a torch that uses four; return what it is set to."""
    used = [4]
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("showtell.system.cpu.usable_cores", lambda: 6)
    monkeypatch.setattr(device, "usable_cores", lambda: 6)
    monkeypatch.setattr(torch, "get_num_threads", lambda: used[-1])
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    return used


@pytest.mark.parametrize(
    ("asked", "processes", "expected"),
    [(0, 1, 4), (2, 1, 2), (5, 1, 5), (99, 1, 6), (0, 3, 2), (6, 2, 3), (1, 9, 1)],
)
def test_threads_are_what_is_checked_for_within_the_cores(
    threads: list[int], asked: int, processes: int, expected: int
) -> None:
    assert set_num_threads(asked, processes=processes) == expected
    assert threads[-1] == expected


def test_what_an_application_has_set_is_left_unless_it_is_too_much(threads: list[int]) -> None:
    set_num_threads(0)
    assert threads == [4]
    threads.append(64)
    assert set_num_threads(0) == 6


@pytest.mark.thorough
def test_a_captioner_computes_in_the_threads_it_is_given(
    threads: list[int], tiny_checkpoint: Callable[[str], Path]
) -> None:
    Captioner.load(tiny_checkpoint("attention"), device="cpu", threads=3)
    assert threads[-1] == 3
    with pytest.raises(ConfigError, match="threads is out of range"):
        Captioner.load(tiny_checkpoint("attention"), device="cpu", threads=-2)


def in_a_thread(work: Callable[[], int]) -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def test_workers_fraction_the_threads_and_nobody_else_has_fewer() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(5)
        both = threading.Barrier(2, timeout=60)

        def threads_of_a_lane(_: int) -> int:
            both.wait()
            return torch.get_num_threads()

        assert list(make_batch_pool(torch.device("cpu")).map(threads_of_a_lane, range(4))) == [2] * 4
        assert torch.get_num_threads() == in_a_thread(torch.get_num_threads) == 5
    finally:
        torch.set_num_threads(before)


def test_one_thread_and_other_devices_have_one_worker() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert make_batch_pool(torch.device("cpu")).count == 1
        torch.set_num_threads(2)
        assert make_batch_pool(torch.device("cpu")).count == 2
        assert make_batch_pool(torch.device("cuda")).count == 1
    finally:
        torch.set_num_threads(before)
