"""Damaged requests to `showtell serve`: every one must be answered or closed, and none with an error of the server.

python -m benchmarks.serve_fuzz --requests 10000 --seed 0    # a server with a tiny captioner; prints counts by status

A request is made of its seed and number alone. Bodies, heads, lengths, chunks and options are damaged; some clients
leave in the middle. Where too little was sent, an error or the end of the connection must come when the time is over.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.growth import tiny_checkpoint
from benchmarks.serve_load import ServerProcess, small_image

AT_ONCE = 32
UPLOAD_SECONDS = 1.0
"""The server's --max-seconds: what never ends is over then."""
PATIENCE = 20.0
"""Seconds after which a request without an answer has made the server hang, on a machine that does other work too."""
BOUNDARY = b"b"
ODD = (
    *(b"\x00", b"\xff", b"\r\n", b"\n", b'"', b"{", b"[", b"--b", b"%", b"-1", b"1e999", b"null", b"NaN"),
    *(b"\xed\xa0\x80", b"\xef\xbb\xbf", b"9" * 30, b"A" * 5000, b"[" * 2000, bytes(150_000), b'{"a":' * 500),
)
OPTIONS = (
    *(
        "beam_size=2",
        "beam_size=0",
        "beam_size=99999999999999999999",
        "method=sample&samples=3",
        "method=greedy",
    ),
    *(
        "temperature=nan",
        "temperature=inf",
        "temperature=1e-300",
        "top_p=0",
        "seed=-1",
        "seed=1.5",
        "retrieval=rerank",
    ),
    *(
        "max_tokens=1&min_tokens=9",
        "attention=true",
        "attention=%00",
        "neighbours=true",
        "alternatives=1",
        "x" * 3000,
    ),
    *(
        "beam_size=2&beam_size=3",
        "%ff=%fe",
        "=",
        "&&&",
        "method=%F0%9F%98%80",
        "length_penalty=-0.0",
        "image=a",
    ),
)
HEADERS = (
    *(
        b"Accept: text/event-stream",
        b"Accept: \xff",
        b"X-Request-Timeout-Ms: 1",
        b"X-Request-Timeout-Ms: 999",
    ),
    *(
        b"X-Request-Id: " + b"\xe4" * 9,
        b"Authorization: Bearer \xff",
        b"Expect: 100-continue",
        b"Connection: close",
    ),
    *(
        b"Content-Encoding: gzip",
        b"Upgrade: websocket\r\nConnection: upgrade",
        b"Range: bytes=0-1",
        b"Origin: null",
    ),
    *(b"Cookie: " + b"c" * 9000, b"If-None-Match: *", b"Content-Type: text/plain", b"X-Forwarded-For: a, b"),
)
MALFORMED = (
    *(
        b"X-Request-Timeout-Ms: 1e3",
        b"X-Request-Timeout-Ms: " + b"9" * 40,
        b"Content-Type: multipart/form-data",
    ),
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Content-Length: 5", b"Content-Length: -1"),
    *(b"Content-Length: 1e3", b"Content-Length: " + b"9" * 25, b"Host: b", b"No colon", b" Folded: yes"),
    *(b"X-Long: " + b"v" * 70_000, b"X-Forwarded-For: \x00", b"Expect: 200-ok"),
)


@dataclass
class Outcome:
    """What came of the requests."""

    statuses: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    """Requests by number that had a wrong answer, or none."""
    seconds: float = 0.0
    slowest: float = 0.0


def damaged(data: bytes, choose: random.Random) -> bytes:
    """Return bytes with some of them changed, cut out, doubled, or odd ones put in."""
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


def _bodies(image: bytes) -> list[tuple[str, str, bytes]]:
    text = base64.b64encode(image).decode()
    part = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    parts = [
        (b"images", b'; filename="a"', image),
        (b"images", b'; filename="b"', image),
        (b"beam_size", b"", b"2"),
    ]
    chat = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": text}}]}]}
    return [
        ("/v1/captions", "image/png", image),
        ("/v1/captions", "application/json", json.dumps({"image": text, "options": {"seed": 1}}).encode()),
        (
            "/v1/captions",
            "multipart/form-data; boundary=b",
            b"".join(part % each for each in parts) + b"--b--\r\n",
        ),
        ("/v1/chat/completions", "application/json", json.dumps(chat).encode()),
    ]


def build_request(seed: int, number: int, image: bytes) -> bytes:
    """Return the bytes of one request."""
    choose = random.Random(f"{seed}:{number}")
    path, kind, body = choose.choice(_bodies(image))
    method = choose.choice(("POST",) * 12 + ("GET", "PUT", "HEAD", "OPTIONS"))
    if choose.random() < 0.1:
        path = choose.choice(
            ("/", "/healthz", "/metrics", "/v1/model", "/static/%2e%2e/a", "//", "/v1/captions/")
        )
    query = "&".join(choose.sample(OPTIONS, choose.choice((0, 0, 1, 2))))
    body = damaged(body, choose)
    lines = [f"{method} {path}?{query} HTTP/1.1".encode(), b"Host: a", f"Content-Type: {kind}".encode()]
    if choose.random() < 0.15:
        lines.append(b"Transfer-Encoding: chunked")
        half = len(body) // 2
        body = (
            b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in (body[:half], body[half:]))
            + b"0\r\n\r\n"
        )
        body = damaged(body, choose)
    else:
        lines.append(b"Content-Length: %d" % (len(body) + choose.choice((0,) * 8 + (-1, 1, 1000))))
    lines += choose.sample(HEADERS, choose.choice((0, 0, 0, 1, 2)))
    lines += choose.sample(MALFORMED, choose.choice((0,) * 9 + (1,)))
    head = b"\r\n".join(lines) + b"\r\n"
    request = (damaged(head, choose) if choose.random() < 0.15 else head) + b"\r\n" + body
    return request[: choose.randrange(60)] if choose.random() < 0.02 else request


async def _answer(port: int, request: bytes, *, leaves: bool) -> str:
    """Send a request; return the status of its answer, or how the connection ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        with contextlib.suppress(ConnectionError):
            writer.write(request)
            if leaves:
                return "left"
            await writer.drain()
        while True:
            line = await reader.readline()
            if not line.startswith(b"HTTP/1.1 1"):  # such as 100 Continue
                return line[9:12].decode("latin-1") or "closed"
            while (await reader.readline()).strip():
                pass
    except ConnectionError:
        return "closed"
    finally:
        writer.close()


async def fuzz(port: int, *, seed: int, count: int) -> Outcome:
    """Send damaged requests, some at a time; each tenth client leaves before its answer."""
    outcome, numbers, image, started = Outcome(), iter(range(count)), small_image(), time.monotonic()

    async def client() -> None:
        for number in numbers:
            before = time.monotonic()
            try:
                async with asyncio.timeout(PATIENCE):
                    answer = await _answer(port, build_request(seed, number, image), leaves=number % 10 == 9)
            except TimeoutError:
                answer = "none"
            outcome.slowest = max(outcome.slowest, time.monotonic() - before)
            outcome.statuses[answer] += 1
            if answer == "none" or (answer.startswith("5") and answer not in ("503", "504")):
                outcome.failures.append(f"{number}: {answer}")

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    outcome.seconds = time.monotonic() - started
    return outcome


async def is_well(port: int) -> bool:
    """Return whether a server captions an undamaged image, and nothing else has a place in its queue."""
    image = small_image()
    head = b"POST /v1/captions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(image)
    if await _answer(port, head + image, leaves=False) != "200":
        return False
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    text = await reader.read()
    writer.close()
    return b"showtell_queue_images 0.0" in text


def main() -> None:
    """Fuzz a server and print JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = str(tiny_checkpoint(Path(folder)))
        options = ["--port", "0", "--max-seconds", str(UPLOAD_SECONDS), "--max-bytes", "100000"]
        server = ServerProcess(sys.executable, "-m", "showtell", "serve", checkpoint, *options)
        try:
            before = server.megabytes()
            outcome = asyncio.run(fuzz(server.port, seed=given.seed, count=given.requests))
            results: dict[str, Any] = {
                "statuses": dict(sorted(outcome.statuses.items())),
                "failures": outcome.failures,
                "requests per second": round(given.requests / outcome.seconds),
                "slowest seconds": round(outcome.slowest, 2),
                "well afterwards": asyncio.run(is_well(server.port)),
                "memory grown MB": round(server.megabytes() - before, 1),
            }
        finally:
            server.terminate()
            code = server.wait()
    print(json.dumps({**results, "exit code": code}, indent=1))
    sys.exit(bool(outcome.failures or not results["well afterwards"] or code))


if __name__ == "__main__":
    main()
