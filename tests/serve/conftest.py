"""A real server on a socket, with a tiny captioner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.serve.servers import Running, running

from showtell.inference.captioner import Captioner


@pytest.fixture(scope="session")
def serving(tiny_checkpoint: Callable[[str], Path]) -> Iterator[Running]:
    """A server with the usual limits, but few bytes and pixels, and the captioner in a process of its own."""
    with running(
        tiny_checkpoint("attention"), own_process=True, max_bytes=100_000, max_pixels=100_000, max_images=4
    ) as started:
        yield started


@pytest.fixture
def client(serving: Running) -> Iterator[httpx.Client]:
    with serving.client() as client:
        yield client


@pytest.fixture(scope="session")
def offline(tiny_checkpoint: Callable[[str], Path]) -> Captioner:
    return Captioner.load(tiny_checkpoint("attention"), device="cpu")
