"""Captions over a socket: every form of a request, every part of an answer."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
from tests.serve.servers import picture

from showtell.inference.caption import UNSURE
from showtell.inference.captioner import Captioner
from showtell.inference.decode_pool import DecodedImage
from showtell.serve.answers import Outcome, caption_json

IMAGE = picture(1)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def text_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    (caption,) = answer.json()["captions"]
    return str(caption["text"])


@pytest.mark.parametrize(
    "body",
    [
        {"content": IMAGE},
        {"content": IMAGE, "headers": {"Content-Type": "image/jpeg"}},
        {"content": IMAGE, "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
        {"files": {"images": ("photo", IMAGE)}},
        {"files": {"image": ("photo.png", IMAGE, "text/plain")}},
        {"json": {"image": encoded(IMAGE)}},
        {"json": {"images": ["data:image/jpeg;base64," + encoded(IMAGE)]}},
        {"content": b' {"image": "' + encoded(IMAGE).encode() + b'"}'},
    ],
)
def test_every_form_of_a_request_gets_the_caption_of_python(
    client: httpx.Client, offline: Captioner, body: dict[str, Any]
) -> None:
    assert text_of(client.post("/v1/captions", **body)) == offline.caption(IMAGE).text


@pytest.mark.parametrize(
    "options",
    [
        {"method": "sample", "temperature": 2.5, "seed": 3, "max_tokens": 5},
        {"samples": 4, "temperature": 3.0, "top_k": 3, "seed": 1},
        {"samples": 4, "without_replacement": True, "temperature": 3.0, "seed": 1},
        {"top_p": 0.4, "temperature": 4.0, "min_tokens": 6, "seed": 2},
        {"beam_size": 5, "length_penalty": 0.0, "no_repeat_ngram_size": 1, "min_tokens": 4},
        {"method": "greedy", "retrieval": "off", "max_tokens": 3},
        {
            "beam_size": 4,
            "beam_groups": 4,
            "diversity_penalty": 9.0,
            "repetition_penalty": 5.0,
            "min_tokens": 6,
        },
    ],
)
def test_options_are_those_of_python_in_the_query_the_form_and_json(
    client: httpx.Client, offline: Captioner, options: dict[str, Any]
) -> None:
    wanted = offline.caption(IMAGE, **options).text
    assert wanted != offline.caption(IMAGE).text
    for body in (
        {"content": IMAGE, "params": options},
        {"files": {"images": ("a", IMAGE)}, "data": options},
        {"json": {"image": encoded(IMAGE), "options": options}},
    ):
        assert text_of(client.post("/v1/captions", **body)) == wanted


def test_an_answer_has_the_scores_of_python_and_only_the_parts_that_were_requested(
    client: httpx.Client, offline: Captioner
) -> None:
    caption = offline.caption(IMAGE, attention=True)
    plain = client.post("/v1/captions", content=IMAGE).json()["captions"][0]
    assert plain.keys() == {"text", "score", "log_prob", "words", "truncated"}
    assert plain["score"] == pytest.approx(caption.score, abs=1e-4)
    assert [word["text"] for word in plain["words"]] == caption.words
    answer = client.post("/v1/captions", content=IMAGE, params={"attention": True, "alternatives": "on"})
    full = answer.json()["captions"][0]
    assert full["alternatives"][1]["text"] == caption.alternatives[1].text
    assert full["attention"]["grid"] == list(offline.grid)
    assert full["attention"]["window"] == [0, 0, 1, 1]
    assert caption.attention is not None
    assert full["attention"]["weights"] == pytest.approx(caption.attention, abs=1e-4)
    assert answer.json()["timings"].keys() == {"queue_ms", "decode_ms", "generate_ms", "total_ms"}


def test_several_images_are_answered_in_order_and_a_bad_one_in_its_place(
    client: httpx.Client, offline: Captioner
) -> None:
    images = [picture(1), b"no image at all", picture(2, "JPEG")]
    answer = client.post("/v1/captions", files=[("images", ("a", data)) for data in images])
    first, bad, last = answer.json()["captions"]
    assert [first["text"], last["text"]] == [
        offline.caption(images[0]).text,
        offline.caption(images[2]).text,
    ]
    assert bad["error"]["title"] == "Not a readable image"
    assert "a text file" in bad["error"]["detail"]


@pytest.mark.thorough
def test_good_and_bad_requests_at_the_same_time_get_their_own_answers(
    client: httpx.Client, offline: Captioner
) -> None:
    good, other = picture(1), picture(2)
    work: list[tuple[dict[str, Any], object]] = [
        ({"content": good}, offline.caption(good).text),
        ({"content": good[:80]}, 422),
        ({"files": {"images": ("a", other)}}, offline.caption(other).text),
        ({"content": b"\xff\xd8" + bytes(50)}, 415),
        ({"content": other, "params": {"method": "greedy"}}, offline.caption(other, method="greedy").text),
        ({"content": good, "params": {"beam_size": 0}}, 422),
        ({"json": {"image": encoded(good)}, "headers": {"X-Request-Timeout-Ms": "1"}}, 504),
        ({"content": b"{"}, 400),
    ] * 4

    def post(request: dict[str, Any]) -> object:
        answer = client.post("/v1/captions", **request)
        return text_of(answer) if answer.status_code == 200 else answer.status_code

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(post, [request for request, _ in work])) == [wanted for _, wanted in work]


def test_the_page_and_the_model_are_served_without_any_other_host(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert client.get("/", headers={"If-None-Match": page.headers["etag"]}).status_code == 304
    assert client.get("/static/../app.py").status_code == 404
    assert client.get("/static/%2e%2e%2fapp.py").status_code == 404
    model = client.get("/v1/model").json()
    assert model["options"]["max_tokens"] == 8
    assert model["attention"] is True
    assert model["limits"]["max_images"] == 4
    assert "image/jpeg" in model["formats"]
    assert model["lang"] is None


def test_the_answer_of_a_calibrated_captioner_has_confidences(
    client: httpx.Client, offline: Captioner
) -> None:
    assert client.get("/v1/model").json()["confidence"] is False
    caption = offline.caption(IMAGE)
    image = DecodedImage(np.zeros((32, 32, 3), np.uint8), 32, 32)
    assert "confidence" not in caption_json(Outcome(caption, image), offline, ())
    words = [0.25] * len(caption.words)
    sure = replace(caption, text=UNSURE, confidence=0.12349, word_confidences=words, unsure=True)
    answer = caption_json(Outcome(sure, image), offline, ())
    assert (answer["text"], answer["confidence"], answer["unsure"]) == ("(unsure)", 0.1235, True)
    assert [word["confidence"] for word in answer["words"]] == words


def test_an_uncalibrated_captioner_refuses_to_be_unsure(client: httpx.Client) -> None:
    answer = client.post("/v1/captions", params={"unsure_below": 0.5}, content=IMAGE)
    assert answer.status_code == 422
    assert "calibrated" in answer.text


NO_WORD_LEFT: dict[str, Any] = {
    "beginning": "a dog's",
    "forbidden": "red, ball, lies, on, the, green, grass, under, one, old, tree",
    "no_repeat_ngram_size": 1,
    "min_tokens": 4,
}


@pytest.mark.parametrize("method", ["beam", "greedy", "sample"])
def test_constraints_that_leave_no_caption_are_the_problem_of_each_image(
    client: httpx.Client, offline: Captioner, method: str
) -> None:
    options = {**NO_WORD_LEFT, "method": method}
    answer = client.post("/v1/captions", params=options, content=IMAGE)
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert (problem["title"], problem["detail"]) == (
        "No caption",
        "no caption of at most 8 tokens meets all constraints",
    )
    assert problem["hint"] == "Raise max_tokens, or omit a constraint"
    several = client.post("/v1/captions", params=options, files=[("images", ("a", IMAGE))] * 2)
    assert several.status_code == 200
    assert [each["error"]["title"] for each in several.json()["captions"]] == ["No caption"] * 2
    (of_python,) = offline.caption([IMAGE], **options)
    assert of_python.error is not None
    assert problem["detail"].removesuffix(" meets all constraints") in of_python.error
    events = client.post(
        "/v1/captions", params=options, content=IMAGE, headers={"Accept": "text/event-stream"}
    )
    assert events.text.split("\n")[-4].startswith("event: error")


def test_forbidden_words_that_the_vocabulary_lacks_are_a_warning(client: httpx.Client) -> None:
    params = {"forbidden": "zebra, red, a zebra"}
    warnings = client.post("/v1/captions", params=params, content=IMAGE).json()["warnings"]
    assert warnings == ["'forbidden': the vocabulary lacks 'zebra', 'a zebra', which can never occur"]
    known = client.post("/v1/captions", params={"forbidden": "red"}, content=IMAGE)
    assert "warnings" not in known.json()
