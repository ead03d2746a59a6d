"""Concurrent batches: results in order, errors and interrupts as in one thread, nothing left running."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.system.batch_pool import BatchPool, cancellable, check_cancelled


def work_until_stopped() -> None:
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        check_cancelled()
    raise TimeoutError("this worker was not cancelled")


@given(st.integers(0, 7), st.integers(1, 4))
def test_results_come_in_the_order_of_the_batches(batches: int, count: int) -> None:
    assert list(BatchPool(count).map(lambda batch: 10 * batch, range(batches))) == [
        10 * batch for batch in range(batches)
    ]


def test_as_many_batches_are_worked_on_at_once_as_there_are_workers() -> None:
    both = threading.Barrier(2, timeout=60)

    def meet(batch: int) -> str:
        both.wait()
        return threading.current_thread().name

    names = list(BatchPool(2).map(meet, range(4)))
    assert len(set(names)) == 2
    assert all(name.startswith("batch") for name in names)


@pytest.mark.parametrize(("count", "batches"), [(1, 3), (2, 1)])
def test_one_worker_or_one_batch_needs_no_other_thread(count: int, batches: int) -> None:
    entered: list[None] = []
    lanes = BatchPool(count, lambda: entered.append(None))
    assert set(lanes.map(lambda _: threading.current_thread(), range(batches))) == {
        threading.current_thread()
    }
    assert not entered


def test_each_worker_enters_once() -> None:
    entered: list[str] = []
    both = threading.Barrier(2, timeout=60)
    lanes = BatchPool(2, lambda: entered.append(threading.current_thread().name))
    list(lanes.map(lambda _: both.wait(), range(6)))
    assert len(entered) == len(set(entered)) == 2


@pytest.mark.parametrize("count", [1, 2, 3])
def test_one_batch_more_than_there_are_workers_is_read_ahead(count: int) -> None:
    read = 0

    def endless() -> Iterator[int]:
        nonlocal read
        while True:
            read += 1
            yield read

    with closing(BatchPool(count).map(lambda batch: batch, endless())) as results:
        for wanted in range(1, 5):
            assert next(results) == wanted
            assert read == wanted + count


def test_an_error_of_the_batches_comes_after_the_results_of_those_before_it() -> None:
    def broken() -> Iterator[int]:
        yield from range(3)
        raise OSError("the list cannot be read on")

    results = BatchPool(2).map(lambda batch: batch, broken())
    assert [next(results), next(results), next(results)] == [0, 1, 2]
    with pytest.raises(OSError, match="cannot be read on"):
        next(results)


def test_an_error_of_work_stops_the_other_worker() -> None:
    def work(batch: int) -> None:
        if batch:
            work_until_stopped()
        raise ValueError("no such batch")

    with pytest.raises(ValueError, match="no such batch"):
        list(BatchPool(2).map(work, range(5)))


def test_a_stream_that_is_left_stops_its_workers() -> None:
    with closing(BatchPool(2).map(lambda batch: batch and work_until_stopped(), range(5))) as results:
        assert next(results) == 0


def test_an_interrupt_ends_the_stream_at_once() -> None:
    def work(batch: int) -> None:
        if batch == 0:
            # A signal, as Ctrl-C sends it, wakes a thread that waits already.
            os.kill(os.getpid(), signal.SIGINT)
        work_until_stopped()

    # What a shell starts in the background ignores interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(BatchPool(2).map(work, range(5)))
    finally:
        signal.signal(signal.SIGINT, before)


def test_work_outside_of_workers_is_never_stopped() -> None:
    check_cancelled()
    assert list(cancellable(range(3))) == [0, 1, 2]
