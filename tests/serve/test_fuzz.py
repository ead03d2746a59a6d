"""Damaged requests: every one is answered or closed, with no error of the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from benchmarks.serve_fuzz import UPLOAD_SECONDS, fuzz, is_well
from tests.serve.servers import Running, running, wait_until


@pytest.fixture(scope="module")
def hurried(tiny_checkpoint: Callable[[str], Path]) -> Iterator[Running]:
    """A server that waits a second for an upload."""
    with running(tiny_checkpoint("attention"), max_seconds=UPLOAD_SECONDS, max_bytes=100_000) as started:
        yield started


# Starlette leaves the files of a form that ends in the middle to the collector.
@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_damaged_request_makes_the_server_fail_or_hang(hurried: Running, count: int) -> None:
    port = int(hurried.url.rpartition(":")[2])
    outcome = asyncio.run(fuzz(port, seed=count, count=count))
    assert outcome.failures == []
    assert {"200", "400", "413", "422"} <= outcome.statuses.keys()
    wait_until(lambda: hurried.server.service.in_work == 0)
    assert asyncio.run(is_well(port))
