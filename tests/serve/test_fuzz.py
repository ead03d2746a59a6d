"""Damaged requests: every one is answered or closed, with no error of the server."""

from __future__ import annotations

import base64
import json
import random
import socket

import pytest
from tests.serve.servers import Running, picture

IMAGE = picture(1)
TEXT = base64.b64encode(IMAGE).decode()
BODIES = [
    ("/v1/captions?beam_size=2&attention=true", "image/png", IMAGE),
    ("/v1/captions", "application/json", json.dumps({"image": TEXT, "options": {"seed": 1}}).encode()),
    (
        "/v1/captions",
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n' + IMAGE + b"\r\n"
        b'--b\r\nContent-Disposition: form-data; name="beam_size"\r\n\r\n2\r\n--b--\r\n',
    ),
    (
        "/v1/chat/completions",
        "application/json",
        json.dumps(
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": TEXT}}]}]}
        ).encode(),
    ),
]
ODD = [
    b"\x00",
    b"\xff",
    b"\r\n",
    b'"',
    b"{",
    b"[",
    b"--b",
    b"%",
    b"-1",
    b"1e999",
    b"null",
    b"\xed\xa0\x80",
    b"9" * 30,
]


def damaged(data: bytes, choose: random.Random) -> bytes:
    """Bytes with some of them changed, cut out, doubled, or odd ones put in."""
    changed = bytearray(data)
    for _ in range(choose.choice((0, 1, 1, 2, 5))):
        place = choose.randrange(len(changed) + 1)
        match choose.randrange(5):
            case 0:
                changed[place:place] = choose.choice(ODD)
            case 1:
                del changed[place : place + choose.choice((1, 8, 200))]
            case 2:
                changed[place : place + 1] = bytes([choose.randrange(256)])
            case 3:
                changed[place:place] = changed[place : place + 40]
            case 4:
                del changed[place:]
    return bytes(changed)


def send(server: Running, request: bytes) -> bytes:
    """The first bytes of the answer, none if the connection was closed."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=15) as connection:
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            return connection.recv(12)
        except ConnectionError:
            return b""


# Starlette leaves the files of a form that ends in the middle to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_damaged_request_makes_the_server_fail_or_hang(serving: Running, count: int) -> None:
    for number in range(count):
        choose = random.Random(number)
        path, kind, body = choose.choice(BODIES)
        body = damaged(body, choose)
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n".encode()
        if choose.random() < 0.5:
            head = damaged(head, choose)
        answer = send(serving, head + b"\r\n" + body)
        assert answer == b"" or answer[9:10] in b"1234" or answer[9:] == b"503", (number, answer)
    with serving.client() as client:
        assert client.post("/v1/captions", content=IMAGE).status_code == 200
        assert serving.server.service.ready()[1].admitted == 0
