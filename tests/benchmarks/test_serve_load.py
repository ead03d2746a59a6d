"""The load script, on a server that refuses some."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from benchmarks.serve_load import run_load
from tests.serve.servers import picture, running

from benchmarks import serve_load
from showtell.inference.captioner import Captioner


def test_every_request_is_answered_or_refused(tiny_checkpoint: Callable[[str], Path]) -> None:
    with running(tiny_checkpoint("attention"), queue_size=2, max_images=2) as server:
        port = int(server.url.rpartition(":")[2])
        load = asyncio.run(run_load("127.0.0.1", port, picture(1), clients=8, seconds=60, requests=60))
    assert load.lost == 0
    assert load.statuses.keys() <= {200, 503}
    assert sum(load.statuses.values()) >= 60
    assert load.summary()["captions per second"] > 0


def test_the_tiny_captioner_captions(tmp_path: Path) -> None:
    assert Captioner.load(serve_load.tiny_checkpoint(tmp_path)).caption(picture(1)).error is None
