"""A real server on a socket, with a tiny captioner."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import numpy as np
import pytest
from PIL import Image

from showtell.inference.captioner import Captioner
from showtell.serve.server import Server
from showtell.serve.settings import build_settings


def picture(seed: int, form: str = "PNG", size: tuple[int, int] = (40, 32)) -> bytes:
    """The file of an image of coarse squares, another one for each seed."""
    coarse = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (5, 4, 3), np.uint8))
    buffer = io.BytesIO()
    coarse.resize(size, Image.Resampling.NEAREST).save(buffer, form)
    return buffer.getvalue()


@dataclass
class Running:
    """A server in a thread of this process."""

    url: str
    server: Server
    thread: threading.Thread
    loop: asyncio.AbstractEventLoop

    def client(self, **options: Any) -> httpx.Client:
        # Certificates, which plain HTTP does not need, take longer to load than most tests.
        return httpx.Client(base_url=self.url, timeout=600, trust_env=False, verify=False, **options)

    def call(self, function: Callable[[], Any]) -> None:
        """Run a function in the server's loop."""
        self.loop.call_soon_threadsafe(function)


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.ConnectError:  # the server ended before it was ready: the caller says why
        return False


class SameProcess:
    """In place of `CaptionerProcess`: starts at once, and tests can change the captioner."""

    def __init__(self, load: Callable[[], Captioner]) -> None:
        self._captioner = load()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._captioner, name)

    def close(self) -> None:
        pass


@contextlib.contextmanager
def running(checkpoint: Path, *, own_process: bool = False, **options: Any) -> Iterator[Running]:
    """Run a server; its captioner has a process of its own only if it is wanted."""
    with contextlib.ExitStack() as patches:
        if not own_process:
            patches.enter_context(patch("showtell.serve.model.CaptionerProcess", SameProcess))
        with _running(checkpoint, **options) as started:
            yield started


@contextlib.contextmanager
def _running(checkpoint: Path, **options: Any) -> Iterator[Running]:
    settings = build_settings(
        checkpoint=checkpoint, device="cpu", **{"port": 0, "decode_processes": 1, **options}
    )
    listener = socket.create_server(("127.0.0.1", settings.port))
    server, loop = Server(settings, checkpoint), asyncio.new_event_loop()
    thread = threading.Thread(target=lambda: loop.run_until_complete(server.serve([listener])))
    thread.start()
    try:
        started = Running(f"http://127.0.0.1:{listener.getsockname()[1]}", server, thread, loop)
        with started.client() as client:
            deadline = time.monotonic() + 120
            while not _is_ready(client):
                assert thread.is_alive(), server.failure
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield started
    finally:
        loop.call_soon_threadsafe(lambda: setattr(server, "should_exit", True))
        thread.join(30)
        listener.close()
        loop.close()
    assert not thread.is_alive()


class Gate:
    """Holds batches back until it is opened; in place of `Captioner.caption_preprocessed`, which it then calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[int] = []
        self._opened, self._entered = threading.Event(), threading.Semaphore(0)
        original = Captioner.caption_preprocessed

        def held(captioner: Captioner, images: Any, *arguments: Any, **options: Any) -> Any:
            self.batches.append(len(images))
            self._entered.release()
            assert self._opened.wait(120)
            return original(captioner, images, *arguments, **options)

        monkeypatch.setattr(Captioner, "caption_preprocessed", held)

    def wait_for_batch(self) -> None:
        assert self._entered.acquire(timeout=60)

    def open(self) -> None:
        self._opened.set()

    def close(self) -> None:
        self._opened.clear()


def wait_until(condition: Callable[[], bool], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def half_sent(url: str, head: str, body: bytes = b"") -> socket.socket:
    """A connection that has sent the head of a request and a part of its body."""
    host, _, port = url.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
    return connection
