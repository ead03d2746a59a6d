"""OpenAI's routes, by the bodies that captioning tools send and the parts of answers that they read."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.serve.servers import Gate, picture, running
from tests.serve.test_captions import NO_WORD_LEFT

from showtell.config.generation import override
from showtell.inference.captioner import Captioner

IMAGE = picture(1)
DATA = base64.b64encode(IMAGE).decode()
CHAT = "/v1/chat/completions"


def image(kind: str = "image/png", **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{DATA}", **more}}


def text(words: str = "Describe it.") -> dict[str, Any]:
    return {"type": "text", "text": words}


SYSTEM = {"role": "system", "content": "You are a captioner."}
CLIENTS: dict[str, dict[str, Any]] = {
    "argus-lens": {
        "model": "any",
        "messages": [SYSTEM, {"role": "user", "content": [text(), image("image/jpeg")]}],
        "max_tokens": 300,
    },
    "datasety": {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": [text(), image("image/webp")]}],
        "max_tokens": 300,
        "temperature": 0.3,
    },
    "TagGUI": {
        "model": "null",
        "messages": [
            SYSTEM,
            {"role": "user", "content": "Describe the image."},
            {"role": "user", "content": [image()]},
        ],
        "max_new_tokens": 100,
        "max_completion_tokens": 100,
        "num_beams": 10,
        "top_k": 50,
        "top_p": 1,
        "rep_pen": 1.0,
        "temperature": 1.0,
        "stream": False,
    },
    "ImageIndexer": {
        "messages": [
            {"role": "system", "content": "..."},
            {"role": "user", "content": [text(), image("image/jpeg")]},
        ],
        "max_tokens": 250,
        "temperature": 0.2,
        "top_p": 1.0,
        "top_k": 100,
        "min_p": 0.05,
        "rep_pen": 1.01,
        "use_default_badwordsids": False,
        "response_format": {"type": "json_object"},
    },
    "GPT4V-Image-Captioner": {
        "model": "gpt-4-vision-preview",
        "messages": [{"role": "user", "content": [image("image/jpeg", detail="high"), text()]}],
        "max_tokens": 300,
    },
    "Frigate": {
        "model": "llava",
        "messages": [{"role": "user", "content": [text(), image("image/jpeg", detail="low")]}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
    },
    "openai": {
        "model": "gpt-4o-mini",
        "messages": [{"role": "developer", "content": [text()]}, {"role": "user", "content": [image()]}],
        "n": 1,
        "stream": False,
        "seed": None,
        "tools": [],
    },
}


@pytest.mark.parametrize("name", CLIENTS)
def test_the_body_of_each_client_gets_a_whole_sentence(
    client: httpx.Client, offline: Captioner, name: str
) -> None:
    answer = client.post(CHAT, json=CLIENTS[name], headers={"Authorization": "Bearer none"})
    assert answer.status_code == 200, answer.text
    (choice,) = answer.json()["choices"]
    caption = offline.caption(IMAGE).text
    assert choice["message"] == {
        "role": "assistant",
        "content": caption[0].upper() + caption[1:] + ".",
    }
    assert choice["finish_reason"] == "stop"
    assert answer.json()["object"] == "chat.completion"


def test_a_stream_has_the_same_sentence_and_ends_as_clients_expect(client: httpx.Client) -> None:
    body = CLIENTS["openai"]
    whole = client.post(CHAT, json=body).json()["choices"][0]["message"]["content"]
    answer = client.post(CHAT, json={**body, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    *chunks, done = answer.text.removesuffix("\n\n").split("\n\n")
    assert done == "data: [DONE]"
    read = [json.loads(chunk.removeprefix("data: ")) for chunk in chunks]
    assert all(chunk["object"] == "chat.completion.chunk" for chunk in read)
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in read) == whole
    assert [chunk["choices"][0]["finish_reason"] for chunk in read] == [None, "stop"]


def test_the_last_image_of_a_conversation_is_captioned(client: httpx.Client, offline: Captioner) -> None:
    other = {
        "type": "image_url",
        "image_url": "data:image/png;base64," + base64.b64encode(picture(4)).decode(),
    }
    messages = [
        {"role": "user", "content": [image()]},
        {"role": "assistant", "content": "A caption."},
        {"role": "user", "content": [other]},
        {"role": "user", "content": "And this one?"},
    ]
    answer = client.post(CHAT, json={"messages": messages}).json()["choices"][0]["message"]["content"]
    assert answer.lower() == offline.caption(picture(4)).text + "."
    assert offline.caption(picture(4)).text != offline.caption(IMAGE).text


def test_a_lower_limit_of_tokens_is_kept(client: httpx.Client, offline: Captioner) -> None:
    body = {**CLIENTS["openai"], "max_tokens": 3}
    content = client.post(CHAT, json=body).json()["choices"][0]["message"]["content"]
    assert content.lower() == offline.caption(IMAGE, max_tokens=3).text + "."


@pytest.mark.parametrize(
    ("status", "message", "body"),
    [
        (400, "2 images", {"messages": [{"role": "user", "content": [image(), image()]}]}),
        (400, "no message has an image", {"messages": [{"role": "user", "content": "hello"}]}),
        (400, "no message has an image", {"messages": []}),
        (
            400,
            "base64",
            {"messages": [{"content": [{"type": "image_url", "image_url": {"url": "data:x,y"}}]}]},
        ),
        (
            422,
            "does not fetch",
            {"messages": [{"content": [{"type": "image_url", "image_url": "http://a/b"}]}]},
        ),
        (422, "messages", {"model": "x"}),
        (
            415,
            "text file",
            {"messages": [{"content": [{"type": "image_url", "image_url": "aGVsbG8gd29ybGQ="}]}]},
        ),
    ],
)
def test_errors_have_the_form_that_clients_read(
    client: httpx.Client, status: int, message: str, body: dict[str, Any]
) -> None:
    answer = client.post(CHAT, json=body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert message in error["message"]
    assert error["type"] == "invalid_request_error"
    assert error["code"]


@pytest.mark.thorough
def test_a_busy_server_says_so_with_seconds_that_clients_wait(
    tiny_checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"queue_size": 1, "max_images": 1}
    with running(tiny_checkpoint("attention"), **options) as server, server.client() as client:
        gate = Gate(monkeypatch)
        with server.server.service.places(server.server.service.ready()[1], 1):
            refused = client.post(CHAT, json=CLIENTS["openai"])
        gate.open()
    assert refused.status_code == 503
    assert 1 <= int(refused.headers["retry-after"]) <= 5
    assert refused.json()["error"]["code"] == "service_busy"


def test_models_are_listed(client: httpx.Client) -> None:
    listed = client.get("/v1/models").json()
    assert listed["object"] == "list"
    [model] = listed["data"]
    assert model["id"] == client.get("/v1/model").json()["id"]
    assert client.get(f"/v1/models/{model['id']}").json() == model
    other = client.get("/v1/models/gpt-4o")
    assert (other.status_code, other.json()["error"]["code"]) == (404, "model_not_found")
    assert model["id"] in other.json()["error"]["message"]


@pytest.mark.thorough
def test_constraints_of_the_captioner_that_leave_no_caption_are_an_error_of_openai(
    tiny_checkpoint: Callable[[str], Path],
) -> None:
    with running(tiny_checkpoint("attention")) as server, server.client() as client:
        captioner = server.server.service.ready()[0].captioner
        captioner._captioner.options = override(captioner.options, **NO_WORD_LEFT)  # type: ignore[attr-defined]
        answer = client.post(CHAT, json={"messages": [{"role": "user", "content": [image()]}]})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (422, "no_caption", "invalid_request_error")
    assert "meets all constraints. Raise max_tokens" in error["message"]
