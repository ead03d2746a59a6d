"""Load on `showtell serve`: more clients than it can answer, what they get, and how its memory grows.

python -m benchmarks.serve_load models/flickr8k examples/taxi.jpg --seconds 300   # also a plain handler, offline
python -m benchmarks.serve_load - - --requests 100000 --clients 32   # a tiny network and image: memory alone

Clients hold their connections open and send again at once, or after a pause where they were refused. They come and
pause independently of each other. In the end the server gets SIGTERM under this load.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.growth import tiny_checkpoint

PAUSE = 1.0
"""Seconds that a refused client waits, half to one and a half of them: about the least that the server advises."""


@dataclass
class Load:
    """What clients saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    accepted: list[float] = field(default_factory=list)  # seconds
    refused: list[float] = field(default_factory=list)
    lost: int = 0  # sent, and closed without an answer
    seconds: float = 0.0

    def summary(self) -> dict[str, Any]:
        """Return counts, images a second, and milliseconds."""
        return {
            "statuses": dict(self.statuses),
            "lost": self.lost,
            "captions per second": round(len(self.accepted) / max(self.seconds, 1e-9), 2),
            "accepted ms": _milliseconds(self.accepted),
            "refused ms": _milliseconds(self.refused),
        }


def small_image() -> bytes:
    """Return the file of a small image."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((40, 32)).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def _milliseconds(seconds: list[float]) -> dict[str, float]:
    if len(seconds) < 2:
        return {}
    cuts = statistics.quantiles(seconds, n=100)
    return {
        name: round(1000 * value, 1)
        for name, value in (("p50", cuts[49]), ("p99", cuts[98]), ("max", max(seconds)))
    }


async def run_load(
    host: str,
    port: int,
    body: bytes,
    *,
    clients: int,
    seconds: float,
    requests: int = 0,
    path: str = "/v1/captions",
) -> Load:
    """Send the same image from many clients, for some seconds or, if it is not 0, so many times."""
    load, started, sent = Load(), time.monotonic(), 0
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
    request = head.encode() + body

    def wanted() -> bool:
        return sent < requests if requests else time.monotonic() - started < seconds

    async def client() -> None:
        nonlocal sent
        await asyncio.sleep(random.uniform(0, min(PAUSE, seconds)))
        while wanted():
            try:
                reader, writer = await asyncio.open_connection(host, port)
            except ConnectionError:
                return  # the server has ended
            with contextlib.suppress(ConnectionError):
                while wanted() and not reader.at_eof():
                    sent += 1
                    before = time.monotonic()
                    writer.write(request)
                    await writer.drain()
                    try:
                        status = await _read_answer(reader)
                    except (asyncio.IncompleteReadError, ConnectionError):
                        load.lost += 1
                        break
                    load.statuses[status] += 1
                    (load.accepted if status == 200 else load.refused).append(time.monotonic() - before)
                    if status != 200:
                        await asyncio.sleep(random.uniform(0.5, 1.5) * PAUSE)
            writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    load.seconds = time.monotonic() - started
    return load


async def _read_answer(reader: asyncio.StreamReader) -> int:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
    await reader.readexactly(int(length[1]) if length else 0)
    return int(head[9:12])


class ServerProcess:
    """A server in a process of its own, and its memory."""

    def __init__(self, *command: str) -> None:
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self._lines: list[str] = []
        self.answered = 0
        """Captions that the log of the server has."""
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(600):
            raise TimeoutError("the server did not start")
        self.port = int(re.findall(r"http://[^:]+:(\d+)", "".join(self._lines))[0])

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if not self._ready.is_set():
                self._lines.append(line)
            self.answered += "'/v1/captions' 200 " in line
            if "ready" in line:
                self._ready.set()

    def megabytes(self) -> float:
        """Return the memory that the server's processes have to themselves, without those that decode images."""
        total = 0
        for process in (self._process.pid, *_children(self._process.pid)):
            status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
            total += int(re.findall(r"RssAnon:\s+(\d+)", status)[0])
        return total / 1024

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process if it runs."""
        self._process.kill()

    def wait(self) -> int:
        """Return the exit code."""
        code = self._process.wait(120)
        self._reader.join()
        return code


def _children(parent: int) -> list[int]:
    """Return the processes that Python started for functions of its own."""
    children = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            is_child = int(status.read_text(encoding="utf-8").rpartition(")")[2].split()[1]) == parent
            if is_child and b"spawn_main" in (status.parent / "cmdline").read_bytes():
                children.append(int(status.parent.name))
    return children


def serve_plainly(checkpoint: str) -> None:
    """Serve with a handler as one would write it at first: one image at a time."""
    import uvicorn
    from fastapi import FastAPI
    from fastapi.responses import JSONResponse
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request

    from showtell.inference.captioner import Captioner

    captioner, one_at_a_time, app = Captioner.load(checkpoint), asyncio.Lock(), FastAPI()

    async def caption(request: Request) -> JSONResponse:
        data = await request.body()
        async with one_at_a_time:
            return JSONResponse({"text": (await run_in_threadpool(captioner.caption, data)).text})

    app.add_route("/v1/captions", caption, methods=["POST"])
    config = uvicorn.Config(app, port=0, log_level="warning")
    socket = config.bind_socket()
    socket.listen(128)
    print(f"http://localhost:{socket.getsockname()[1]}/ ready", file=sys.stderr, flush=True)
    uvicorn.Server(config).run([socket])


def offline_rates(checkpoint: str, body: bytes, count: int) -> dict[str, float]:
    """Return images a second of the captioner itself; the quotient is what batches can gain."""
    from showtell.inference.captioner import Captioner

    captioner = Captioner.load(checkpoint)
    captioner.caption([body] * 4)

    def rate(calls: int, images: int) -> float:
        started = time.monotonic()
        for _ in range(calls):
            captioner.caption([body] * images)
        return round(calls * images / (time.monotonic() - started), 2)

    return {"in batches": rate(1, count), "one at a time": rate(count // 4, 1)}


def measure(
    server: ServerProcess, body: bytes, *, clients: int, seconds: float, requests: int, drains: bool = True
) -> dict[str, Any]:
    """Load a server and, if it ``drains``, send SIGTERM under load."""

    async def run() -> dict[str, Any]:
        first = await run_load("127.0.0.1", server.port, body, clients=clients, seconds=min(10.0, seconds))
        before = server.megabytes()
        load = await run_load(
            "127.0.0.1", server.port, body, clients=clients, seconds=seconds, requests=requests
        )
        grown = server.megabytes() - before
        summary = {**load.summary(), "memory MB": {"before": round(before), "grown": round(grown, 1)}}
        if not drains:
            return summary
        asyncio.get_running_loop().call_later(2, server.terminate)
        ending = await run_load("127.0.0.1", server.port, body, clients=clients, seconds=30)
        code = server.wait()
        received = sum(len(each.accepted) for each in (first, load, ending))
        # A connection may be closed before its request is accepted; what was accepted must arrive.
        at_end = {
            "statuses": dict(ending.statuses),
            "closed before an answer": ending.lost,
            "answers that did not arrive": server.answered - received,
            "exit code": code,
        }
        return {**summary, "at SIGTERM": at_end}

    try:
        return asyncio.run(run())
    finally:
        server.kill()


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="a captioner; -: a tiny one of random weights")
    parser.add_argument("image", help="a file; -: a small image")
    parser.add_argument("--clients", type=int, default=256, help="four times the queue of 64")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--requests", type=int, default=0, help="in place of seconds")
    parser.add_argument("--plain", action="store_true", help="be the plain handler")
    given = parser.parse_args()
    if given.plain:
        serve_plainly(given.checkpoint)
        return
    body = small_image() if given.image == "-" else Path(given.image).read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = str(tiny_checkpoint(Path(folder))) if given.checkpoint == "-" else given.checkpoint
        options = {"clients": given.clients, "seconds": given.seconds, "requests": given.requests}
        command = [sys.executable, "-m", "showtell", "serve", checkpoint, "--port", "0"]
        results: dict[str, Any] = {
            "cores": os.cpu_count(),
            "showtell serve": measure(ServerProcess(*command), body, **options),
        }
        if given.checkpoint != "-":
            plain = [sys.executable, "-m", "benchmarks.serve_load", checkpoint, given.image, "--plain"]
            # As many clients as it has turns: it refuses none.
            results["plain handler"] = measure(
                ServerProcess(*plain), body, **{**options, "clients": 8}, drains=False
            )
            results["offline images per second"] = offline_rates(checkpoint, body, 256)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
