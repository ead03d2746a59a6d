"""The queue: batches of what waits, refusals, deadlines, clients that leave, and the end of a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.serve.servers import Gate, Running, half_sent, picture, running, wait_until

from showtell.inference.captioner import Captioner

UPLOAD = "POST /v1/captions HTTP/1.1\nHost: a\nContent-Type: image/png"


@pytest.fixture(scope="module")
def small(tiny_checkpoint: Callable[[str], Path]) -> Iterator[Running]:
    """A server whose queue has room for six images."""
    with running(tiny_checkpoint("attention"), queue_size=6, max_images=4, max_wait=999) as started:
        yield started


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as threads:
        yield threads


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch, threads: ThreadPoolExecutor) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    yield gate
    gate.open()  # before the threads are waited for


def post(server: Running, number: int, /, **options: Any) -> httpx.Response:
    headers = options.pop("headers", {})
    with server.client() as client:
        return client.post("/v1/captions", content=picture(number), params=options, headers=headers)


def text_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["captions"][0]["text"])


def waiting(server: Running) -> int:
    return server.server.service.ready()[1].admitted


@pytest.mark.thorough
def test_requests_that_wait_together_run_together_and_get_the_captions_of_python(
    small: Running, gate: Gate, threads: ThreadPoolExecutor, offline: Captioner
) -> None:
    first = threads.submit(post, small, 0)
    gate.wait_for_batch()
    others = [threads.submit(post, small, seed) for seed in range(1, 6)]
    ready = small.server.service.ready()[1]
    wait_until(lambda: len(ready._waiting) == 5)
    gate.open()
    texts = [text_of(each.result()) for each in (first, *others)]
    assert gate.batches == [1, 5]
    assert texts == [offline.caption(picture(seed)).text for seed in range(6)]


@pytest.mark.thorough
def test_other_options_are_captioned_apart_and_no_neighbour_in_a_batch_changes_a_caption(
    small: Running, gate: Gate, threads: ThreadPoolExecutor, offline: Captioner
) -> None:
    wanted: list[dict[str, Any]] = [
        {"method": "greedy"},
        {"method": "sample", "seed": 5, "temperature": 1.5},
        {"beam_size": 2},
        {"method": "sample", "seed": 5, "temperature": 1.5},
        {},
    ]
    first = threads.submit(post, small, 9)
    gate.wait_for_batch()
    others = [threads.submit(post, small, seed, **options) for seed, options in enumerate(wanted)]
    wait_until(lambda: waiting(small) == 6)
    gate.open()
    assert text_of(first.result())
    for seed, (each, options) in enumerate(zip(others, wanted, strict=True)):
        assert text_of(each.result()) == offline.caption(picture(seed), **options).text


def test_what_does_not_fit_is_refused_at_once_before_it_is_sent(
    small: Running, gate: Gate, threads: ThreadPoolExecutor
) -> None:
    first = [threads.submit(post, small, seed) for seed in range(6)]
    wait_until(lambda: waiting(small) == 6)
    refused = post(small, 6)
    assert refused.status_code == 503
    assert 1 <= int(refused.headers["retry-after"]) <= 5
    assert refused.json()["title"] == "Service busy"
    with half_sent(small.url, f"{UPLOAD}\nContent-Length: 9999") as connection:
        assert connection.recv(12) == b"HTTP/1.1 503"
    with small.client() as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 200
        assert "showtell_queue_images 6.0" in client.get("/metrics").text
    gate.open()
    assert all(text_of(each.result()) for each in first)
    wait_until(lambda: waiting(small) == 0)


@pytest.mark.thorough
def test_a_request_that_would_wait_too_long_is_refused_but_never_by_an_idle_server(
    tiny_checkpoint: Callable[[str], Path], gate: Gate, threads: ThreadPoolExecutor
) -> None:
    gate.open()
    with running(tiny_checkpoint("attention"), max_wait=1e-6, max_batch_size=1) as server:
        assert text_of(post(server, 0))
        gate.close()
        first = threads.submit(post, server, 1)
        wait_until(lambda: waiting(server) == 1)
        assert post(server, 2).status_code == 503
        gate.open()
        assert text_of(first.result())


def test_a_request_whose_time_is_over_frees_its_place_and_is_not_captioned(
    small: Running, gate: Gate, threads: ThreadPoolExecutor
) -> None:
    first = threads.submit(post, small, 0)
    gate.wait_for_batch()
    late = post(small, 1, headers={"X-Request-Timeout-Ms": "60"})
    assert late.status_code == 504
    assert waiting(small) == 1
    gate.open()
    assert text_of(first.result())
    assert text_of(post(small, 2))
    assert gate.batches == [1, 1]


def test_a_client_that_leaves_frees_its_place(
    small: Running, gate: Gate, threads: ThreadPoolExecutor
) -> None:
    first = threads.submit(post, small, 0)
    gate.wait_for_batch()
    data = picture(1)
    for accept in ("application/json", "text/event-stream"):
        head = f"{UPLOAD}\nAccept: {accept}\nContent-Length: {len(data)}"
        with half_sent(small.url, head, data):
            wait_until(lambda: waiting(small) == 2)
        wait_until(lambda: waiting(small) == 1)
    gate.open()
    assert text_of(first.result())
    assert text_of(post(small, 2))
    assert gate.batches == [1, 1]


def test_a_client_that_leaves_in_the_middle_of_its_upload_changes_nothing(small: Running) -> None:
    data = picture(1)
    for kind in ("image/png", "multipart/form-data; boundary=b", "application/json"):
        head = f"POST /v1/captions HTTP/1.1\nHost: a\nContent-Type: {kind}\nContent-Length: {len(data)}"
        half_sent(small.url, head, data[:50]).close()
    assert text_of(post(small, 1))
    assert waiting(small) == 0


def test_a_server_that_ends_answers_what_it_accepted_and_waits_for_no_upload(
    tiny_checkpoint: Callable[[str], Path], gate: Gate, threads: ThreadPoolExecutor
) -> None:
    gate.open()
    with running(tiny_checkpoint("attention")) as server:
        gate.close()
        accepted = threads.submit(post, server, 0)
        wait_until(lambda: waiting(server) == 1)
        upload = half_sent(server.url, f"{UPLOAD}\nContent-Length: 9999", b"\x89PNG")
        form_head = UPLOAD.replace("image/png", "multipart/form-data; boundary=b")
        form = half_sent(server.url, f"{form_head}\nContent-Length: 99", b"--b\r\n")
        wait_until(lambda: len(server.server.service.intake._timeouts) == 2)
        server.call(server.server.drain)
        assert upload.recv(12) == b"HTTP/1.1 503"
        assert form.recv(12) == b"HTTP/1.1 503"
        with server.client() as client:
            assert client.get("/readyz").status_code == 503
            assert client.get("/healthz").status_code == 200
            assert client.post("/v1/captions", content=picture(1)).status_code == 503
        gate.open()
        assert text_of(accepted.result())
        server.thread.join(10)
        assert not server.thread.is_alive()
        upload.close()
        form.close()
