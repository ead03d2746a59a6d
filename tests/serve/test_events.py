"""Server-sent events: words as they are chosen, then the caption."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.serve.servers import Gate, picture, running

from showtell.data.prepared import PreparedSet
from showtell.experiments.index import index_captions
from showtell.inference.captioner import Captioner
from showtell.inference.captioner_process import CaptionerProcess

IMAGE = picture(1)
EVENTS = {"Accept": "text/event-stream, application/json;q=0.9"}


def events_of(answer: httpx.Response) -> list[tuple[str, dict[str, Any]]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-accel-buffering"] == "no"
    blocks = answer.text.removesuffix("\n\n").split("\n\n")
    lines = [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]
    return [(each["event"], json.loads(each["data"])) for each in lines]


@pytest.mark.parametrize("options", [{"method": "greedy"}, {"method": "sample", "temperature": 0.5}])
def test_words_are_those_of_the_caption_with_their_log_probabilities(
    client: httpx.Client, offline: Captioner, options: dict[str, Any]
) -> None:
    caption = offline.caption(IMAGE, **options)
    params = {**options, "attention": True}
    *words, (last, answer) = events_of(
        client.post("/v1/captions", content=IMAGE, params=params, headers=EVENTS)
    )
    assert [name for name, _ in words] == ["word"] * len(caption.words)
    assert [data["text"] for _, data in words] == caption.words
    assert [data["index"] for _, data in words] == list(range(len(caption.words)))
    assert [data["log_prob"] for _, data in words] == pytest.approx(caption.word_log_probs, abs=1e-4)
    assert (last, answer["text"]) == ("caption", caption.text)
    assert len(answer["attention"]["weights"]) == len(caption.words)


@pytest.mark.parametrize("options", [{"beam_size": 3}, {"method": "sample", "samples": 3}])
def test_where_the_words_are_not_known_before_the_end_only_the_caption_is_sent(
    client: httpx.Client, offline: Captioner, options: dict[str, Any]
) -> None:
    ((name, answer),) = events_of(client.post("/v1/captions", content=IMAGE, params=options, headers=EVENTS))
    assert (name, answer["text"]) == ("caption", offline.caption(IMAGE, **options).text)


def test_a_bad_image_is_a_problem_before_any_event(client: httpx.Client) -> None:
    answer = client.post("/v1/captions", content=b"no image", headers=EVENTS)
    assert (answer.status_code, answer.headers["content-type"]) == (415, "application/problem+json")


def test_what_fails_after_the_first_byte_is_an_event(
    tiny_checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tiny_checkpoint("attention")) as server, server.client() as client:
        gate = Gate(monkeypatch)
        headers = {**EVENTS, "X-Request-Timeout-Ms": "2000"}
        ((name, problem),) = events_of(client.post("/v1/captions", content=IMAGE, headers=headers))
        gate.open()
        assert (name, problem["status"]) == ("error", 504)
        assert client.post("/v1/captions", content=IMAGE).status_code == 200
        assert server.server.service.ready()[1].admitted == 0


def test_an_unexpected_failure_after_the_first_byte_is_an_event_too(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: Any, **options: Any) -> Any:
        raise MemoryError("secret")

    with monkeypatch.context() as patch:
        patch.setattr(CaptionerProcess, "caption_preprocessed", fail)
        answer = client.post("/v1/captions", content=IMAGE, headers=EVENTS)
    ((name, problem),) = events_of(answer)
    assert (name, problem["status"], problem["request_id"]) == ("error", 500, answer.headers["x-request-id"])
    assert "secret" not in answer.text
    assert "MemoryError" in caplog.text
    assert client.post("/v1/captions", content=IMAGE, headers=EVENTS).status_code == 200


def test_words_are_not_sent_before_similar_images_have_chosen_the_caption(
    tiny_checkpoint: Callable[[str], Path], toy_set: PreparedSet, tmp_path: Path
) -> None:
    index_captions(tiny_checkpoint("attention"), tmp_path / "indexed", data=toy_set.directory)
    expected = Captioner.load(tmp_path / "indexed", device="cpu").caption(IMAGE, method="greedy")
    with running(tmp_path / "indexed") as server, server.client() as client:
        params = {"method": "greedy"}
        [(name, answer)] = events_of(
            client.post("/v1/captions", content=IMAGE, params=params, headers=EVENTS)
        )
        assert (name, answer["text"]) == ("caption", expected.text)
        params["retrieval"] = "off"
        *words, _ = events_of(client.post("/v1/captions", content=IMAGE, params=params, headers=EVENTS))
        assert words
