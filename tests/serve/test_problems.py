"""What is refused: the right status, a title, a hint, and nothing of what was uploaded."""

from __future__ import annotations

import base64
import json
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.serve.servers import Running, half_sent, picture, running

IMAGE = picture(1)
SECRET = "zq7secretzq7"
TEXT = base64.b64encode(IMAGE).decode()


def part(name: str = "images", data: bytes = IMAGE) -> dict[str, Any]:
    return {"files": [(name, ("a.png", data))]}


CASES: list[tuple[int, str, dict[str, Any]]] = [
    (400, "no image", {"content": b""}),
    (400, "no image", {"content": b"   "}),
    (400, "no image", {"files": [("beam_size", (None, "2"))]}) ,
    (400, "is no file", {"files": [("images", (None, SECRET))]}),
    (400, "multipart body", {"content": SECRET, "headers": {"Content-Type": "multipart/form-data"}}),
    (400, "multipart body", {"content": SECRET, "headers": {"Content-Type": "multipart/form-data; boundary=b"}}),
    (400, "JSON", {"content": "{" + SECRET}),
    (400, "JSON", {"content": b"\xff{}", "headers": {"Content-Type": "application/json"}}),
    (400, "object", {"json": [SECRET]}),
    (400, "either", {"json": {}}),
    (400, "either", {"json": {"image": TEXT, "images": [TEXT]}}),
    (400, "no image", {"json": {"images": []}}),
    (400, "base64", {"json": {"image": SECRET + "!"}}),
    (400, "base64", {"json": {"image": ""}}),
    (422, "images", {"json": {"image": TEXT, "images": None}}),
    (400, "base64", {"json": {"image": "data:text/plain," + SECRET}}),
    (422, "image", {"json": {"image": 5}}),
    (422, "imges", {"json": {"imges": [TEXT]}}),
    (422, "attention", {"json": {"image": TEXT, "attention": "yes"}}),
    (422, "beam_size", {"json": {"image": TEXT, "options": {"beam_size": "5"}}}),
    (422, "beam_size", {"json": {"image": TEXT, "options": {"beam_size": True}}}),
    (422, "beam_size", {"content": IMAGE, "params": {"beam_size": 65}}),
    (422, "beam_size", {"content": IMAGE, "params": {"beam_size": "x"}}),
    (422, "given twice", {"content": IMAGE, "params": [("beam_size", 3), ("beam_size", 4)]}),
    (422, "too long", {"content": IMAGE, "params": {"method": "x" * 5000}}),
    (422, "conflicting", {"content": IMAGE, "params": {"beam_size": 3, "temperature": 0.5}}),
    (422, "without a datastore", {"content": IMAGE, "params": {"retrieval": "rerank"}}),
    (422, "with retrieval 'off'", {"content": IMAGE, "params": {"neighbours": 5}}),
    (422, "true nor false", {"content": IMAGE, "params": {"attention": SECRET}}),
    (422, "no such option", {"content": IMAGE, "params": {"beam-size": 3}}),
    (422, "no such file", part("photo")),
    (400, "X-Request-Timeout-Ms", {"content": IMAGE, "headers": {"X-Request-Timeout-Ms": "0"}}),
    (400, "X-Request-Timeout-Ms", {"content": IMAGE, "headers": {"X-Request-Timeout-Ms": SECRET}}),
    (400, "one image only", {"files": part()["files"] * 2, "headers": {"Accept": "text/event-stream"}}),
    (413, "100,000 bytes", {"content": b"\x89PNG" + bytes(100_000)}),
    (413, "100,000 bytes", part(data=bytes(100_001))),
    (413, "100,000 bytes", {"json": {"image": base64.b64encode(bytes(100_001)).decode()}}),
    (413, "bytes", {"content": (bytes(1000) for _ in range(2000))}),
    (413, "more than 4 images", {"files": part()["files"] * 5}),
    (413, "more than 4 images", {"json": {"images": [TEXT] * 5}}),
    (413, "400 x 300 pixels", {"content": picture(1, "PNG", (400, 300))}),
    (415, "text file", {"content": SECRET.encode()}),
    (415, "a PDF document", {"content": b"%PDF-1.7" + SECRET.encode(), "headers": {"Content-Type": "image/png"}}),
    (422, "corrupt", {"content": IMAGE[:80]}),
]  # fmt: skip


@pytest.mark.parametrize(("status", "detail", "request_parts"), CASES)
def test_a_bad_request_gets_a_problem_without_its_content(
    client: httpx.Client, status: int, detail: str, request_parts: dict[str, Any]
) -> None:
    answer = client.post("/v1/captions", **request_parts)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem.keys() == {"type", "title", "status", "detail", "hint", "request_id"}
    assert detail in problem["detail"]
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert SECRET not in answer.text
    assert "Traceback" not in answer.text


def test_an_unknown_option_is_answered_with_the_nearest_one(client: httpx.Client) -> None:
    problem = client.post("/v1/captions", content=IMAGE, params={"beam-size": 3}).json()
    assert problem["hint"] == "Did you mean 'beam_size'?"


def test_other_routes_and_methods_are_problems_too(client: httpx.Client) -> None:
    assert client.get("/v2").json()["status"] == 404
    answer = client.get("/v1/captions")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert client.get("/docs/oauth2-redirect").status_code == 404


def test_a_decoder_without_attention_says_so(tiny_checkpoint: Callable[[str], Path]) -> None:
    with running(tiny_checkpoint("lstm")) as server, server.client() as client:
        answer = client.post("/v1/captions", content=IMAGE, params={"attention": True})
        assert (answer.status_code, answer.json()["hint"]) == (422, "Omit it")
        assert client.get("/v1/model").json()["attention"] is False


def test_every_answer_has_the_headers_of_security_and_no_other_site_is_allowed(client: httpx.Client) -> None:
    origin = {"Origin": "https://example.org"}
    preflight = {**origin, "Access-Control-Request-Method": "POST"}
    for answer in (
        client.get("/", headers=origin),
        client.post("/v1/captions", content=IMAGE, headers=origin),
        client.options("/v1/captions", headers=preflight),
        client.get("/missing", headers=origin),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_request_id_is_taken_over_only_if_it_is_harmless(client: httpx.Client) -> None:
    assert client.get("/healthz", headers={"X-Request-Id": "a-1.b"}).headers["x-request-id"] == "a-1.b"
    for odd in ("a b", "ä".encode(), "x" * 65):
        assert len(client.get("/healthz", headers={"X-Request-Id": odd}).headers["x-request-id"]) == 32


def test_the_key_is_needed_for_captions_and_metrics_but_not_for_the_page(
    tiny_checkpoint: Callable[[str], Path],
) -> None:
    with running(tiny_checkpoint("attention"), api_key="k€y") as server, server.client() as client:
        for path in ("/", "/healthz", "/readyz"):
            assert client.get(path).status_code == 200
        for path in ("/v1/model", "/metrics", "/v1/models", "/v1/missing"):
            refused = client.get(path, headers={"Authorization": "Bearer key"})
            assert refused.status_code == 401, path
            assert refused.headers["www-authenticate"] == "Bearer"
        key = "k€y".encode()
        assert client.get("/v1/model", headers={"X-API-Key": key}).status_code == 200
        accepted = client.post("/v1/captions", content=IMAGE, headers={b"Authorization": b"bearer " + key})
        assert accepted.status_code == 200
        assert client.get("/v1/models").json()["error"]["code"] == "unauthorized"


def test_the_log_has_one_line_for_a_request_and_none_of_its_content(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "showtell.serve"):
        client.post("/v1/captions", content=IMAGE, params={"seed": 98765}, headers={"X-Request-Id": "first"})
        client.get(f"/{SECRET}%0aforged")
        client.get("/healthz")
        while len(caplog.records) < 2:
            pass
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("POST '/v1/captions' 200 ")
    assert " id=first images=1 queue_ms=" in first
    assert "98765" not in first
    assert "\n" not in second


def test_an_upload_that_takes_too_long_is_refused(tiny_checkpoint: Callable[[str], Path]) -> None:
    with running(tiny_checkpoint("attention"), max_seconds=0.3) as server:
        head = "POST /v1/captions HTTP/1.1\nHost: a\nContent-Length: 100"
        with half_sent(server.url, head, IMAGE[:50]) as connection:
            assert connection.recv(12) == b"HTTP/1.1 408"


@pytest.mark.thorough
def test_a_connection_whose_request_does_not_begin_in_time_is_closed(
    tiny_checkpoint: Callable[[str], Path],
) -> None:
    with running(tiny_checkpoint("attention"), max_seconds=0.3) as server:
        host, _, port = server.url.removeprefix("http://").partition(":")
        for sent in (b"", b"POST /v1/captions HTTP/1.1\r\nHost:"):
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                connection.sendall(sent)
                assert connection.recv(12) == b""
        whole = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            for _ in range(2):
                connection.sendall(whole)
                answer = b""
                while not answer.endswith(b'{"status":"ok"}'):
                    answer += connection.recv(999)
            connection.sendall(whole[:9])
            assert connection.recv(12) == b""


def test_a_head_that_is_not_http_is_a_problem_too(serving: Running) -> None:
    with half_sent(serving.url, SECRET) as connection:
        answer = b"".join(iter(lambda: connection.recv(999), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["status"] == 400
    assert SECRET.encode() not in answer


def test_metrics_count_requests_by_route_and_never_by_what_clients_write(client: httpx.Client) -> None:
    client.post("/v1/captions", content=IMAGE)
    client.get(f"/{SECRET}")
    text = client.get("/metrics").text
    assert 'showtell_requests_total{route="/v1/captions",status="200"}' in text
    assert "showtell_batch_size_bucket" in text
    assert 'showtell_image_seconds_bucket{le="0.5",phase="generate"}' in text
    assert SECRET not in text


def test_json_errors_name_no_value(client: httpx.Client) -> None:
    body = json.dumps({"image": [SECRET], "options": {"method": SECRET}})
    assert SECRET not in client.post("/v1/captions", content=body).text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/missing"),
        ("GET", "/v1/captions"),
        ("POST", "/v1/captions/"),
        ("POST", "/v1/captions?beam_size=0"),
    ],
)
def test_each_problem_has_a_hint(client: httpx.Client, method: str, path: str) -> None:
    answer = client.request(method, path, content=IMAGE if method == "POST" else None)
    assert answer.status_code in (404, 405, 422)
    assert "/docs" in answer.json()["hint"]
