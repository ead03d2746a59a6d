"""The shipped captioner over HTTP, on photographs: the captions of Python, in whatever batches they come."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.serve.servers import Running, running

from showtell.inference.captioner import Captioner

ROOT = Path(__file__).resolve().parents[2]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"method": "greedy"},
    {"method": "sample", "temperature": 0.8, "seed": 7},
]


@pytest.mark.slow
def test_mixed_requests_get_the_captions_of_python() -> None:
    checkpoint = ROOT / "models" / "flickr8k"
    photographs = sorted((ROOT / "examples").glob("*.jpg"))
    work = [(path, options) for path in photographs for options in OPTIONS] * 2

    def post(server: Running, path: Path, options: dict[str, Any]) -> str:
        with server.client() as client:
            answer = client.post("/v1/captions", content=path.read_bytes(), params=options)
            return str(answer.json()["captions"][0]["text"])

    with (
        running(checkpoint, own_process=True, max_seconds=600, max_wait=600) as server,
        ThreadPoolExecutor(36) as threads,
    ):
        served = list(threads.map(lambda each: post(server, *each), work))
        sizes = server.server.service.metrics.batch_sizes._sum.get()
    captioner = Captioner.load(checkpoint, device="cpu")
    assert served == [captioner.caption(path, **options).text for path, options in work]
    assert sizes == len(work)
