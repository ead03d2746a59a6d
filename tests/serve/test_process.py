"""The command: signals, exit codes, several workers, addresses that a request names."""

from __future__ import annotations

import contextlib
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import httpx
import pytest
from tests.forks import exit_code, fork
from tests.serve.servers import SameProcess, half_sent, picture, running, wait_until

from showtell.errors import CheckpointError, ConfigError
from showtell.serve.server import serve
from showtell.serve.settings import build_settings


class Command:
    """``showtell serve`` in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "showtell", "serve", "--port", "0", "--decode-processes", "1"]
        self.process = subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            self.lines.extend(iter(lines.readline, ""))

    @property
    def url(self) -> str:
        wait_until(lambda: any("http://" in line for line in self.lines))
        found = re.search(r"http://localhost:(\d+)", "".join(self.lines))
        assert found is not None
        return f"http://127.0.0.1:{found[1]}"

    def wait_until_ready(self, count: int = 1) -> None:
        wait_until(lambda: sum("; ready" in line for line in self.lines) >= count, seconds=180)

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(180)
        self._reader.join(10)
        return code


@contextlib.contextmanager
def command(*arguments: str) -> Iterator[Command]:
    started = Command(*arguments)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
        started.wait()


def serve_here(*arguments: str) -> None:
    """Run ``showtell serve``, with the captioner in its own process."""
    sys.argv = ["showtell", "serve", "--device", "cpu", "--decode-processes", "1", *arguments]
    with patch("showtell.serve.model.CaptionerProcess", SameProcess):
        runpy.run_module("showtell", run_name="__main__")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_a_server_ends_with_0_at_a_signal(
    tiny_checkpoint: Callable[[str], Path],
) -> None:
    port = free_port()
    server = fork(serve_here, str(tiny_checkpoint("attention")), "--port", str(port))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
        wait_until(lambda: answers(client) and client.get("/readyz").status_code == 200)
        assert client.post("/v1/captions", content=picture(1)).status_code == 200
    head = "POST /v1/captions HTTP/1.1\nHost: a\nContent-Length: 100"
    with half_sent(f"http://127.0.0.1:{port}", head, b"\x89PNG"):
        os.kill(server, signal.SIGTERM)
        assert exit_code(server) == 0


def test_a_checkpoint_that_cannot_be_loaded_ends_the_server(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert exit_code(fork(serve_here, str(tmp_path), "--port", "0")) == 1
    assert "error:" in capfd.readouterr().err


@pytest.mark.thorough
def test_a_server_is_not_ready_while_it_loads_and_ends_with_0_at_a_signal(
    tiny_checkpoint: Callable[[str], Path],
) -> None:
    with (
        command(str(tiny_checkpoint("attention")), "--device", "cpu") as started,
        httpx.Client(base_url=started.url, trust_env=False, timeout=30) as client,
    ):
        wait_until(lambda: answers(client))
        started.wait_until_ready()
        assert client.post("/v1/captions", content=picture(1)).status_code == 200
        head = "POST /v1/captions HTTP/1.1\nHost: a\nContent-Length: 100"
        with half_sent(started.url, head, b"\x89PNG"):
            assert started.end() == 0
    assert not [line for line in started.lines if "Traceback" in line]


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200 and client.get("/readyz").status_code in (200, 503)
    except httpx.ConnectError:
        return False


@pytest.mark.slow
def test_requests_wait_for_a_new_captioner_where_its_process_has_ended(
    tiny_checkpoint: Callable[[str], Path],
) -> None:
    with (
        command(str(tiny_checkpoint("attention")), "--device", "cpu") as started,
        httpx.Client(base_url=started.url, trust_env=False, timeout=120) as client,
    ):
        started.wait_until_ready()
        captioner = worker_of(started.process.pid)
        os.kill(captioner, signal.SIGKILL)
        assert client.post("/v1/captions", content=picture(1)).status_code == 200
        assert any("captioner's process ended by signal 9" in line for line in started.lines)
        for process in (worker_of(started.process.pid), started.process.pid):  # systemd's signal reaches both
            os.kill(process, signal.SIGTERM)
        assert started.wait() == 0


@pytest.mark.slow
def test_workers_share_a_port_are_replaced_and_end_together(tiny_checkpoint: Callable[[str], Path]) -> None:
    with command(str(tiny_checkpoint("attention")), "--workers", "2", "--device", "cpu") as started:
        started.wait_until_ready(2)

        def post() -> int:
            with httpx.Client(base_url=started.url, trust_env=False, timeout=30) as client:
                return client.post("/v1/captions", content=picture(1)).status_code

        assert [post() for _ in range(8)] == [200] * 8
        with httpx.Client(base_url=started.url, trust_env=False) as client:
            text = client.get("/metrics").text
        assert 'showtell_requests_total{route="/v1/captions",status="200"} 8.0' in text
        assert "showtell_ready 2.0" in text
        os.kill(worker_of(started.process.pid), signal.SIGKILL)
        started.wait_until_ready(3)
        assert post() == 200
        assert started.end() == 0


def worker_of(parent: int) -> int:
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            is_child = int(status.read_text().rpartition(")")[2].split()[1]) == parent
            if is_child and b"spawn_main" in (status.parent / "cmdline").read_bytes():
                return int(status.parent.name)
    raise AssertionError("no worker")


@pytest.mark.parametrize(
    "workers", [pytest.param("1", marks=pytest.mark.thorough), pytest.param("2", marks=pytest.mark.slow)]
)
def test_a_checkpoint_that_cannot_be_loaded_ends_the_server_with_its_error(
    tmp_path: Path, workers: str
) -> None:
    with pytest.raises(CheckpointError, match="missing"):
        serve(build_settings(checkpoint=tmp_path / "missing", port=0))
    (tmp_path / "config.json").write_text("{}")
    with command(str(tmp_path), "--workers", workers) as started:
        assert started.wait() == 1
    assert any("error:" in line for line in started.lines)


def test_a_port_that_is_taken_and_settings_out_of_range_are_errors(
    tiny_checkpoint: Callable[[str], Path],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(ConfigError, match="cannot listen"):
        serve(build_settings(checkpoint=tiny_checkpoint("attention"), port=other.getsockname()[1]))
    with pytest.raises(ConfigError, match="'queue_size': fewer than max_images, 16"):
        build_settings(checkpoint="x", queue_size=2)
    with pytest.raises(ConfigError, match="'port'"):
        build_settings(checkpoint="x", port=-1)


def test_addresses_are_fetched_only_if_allowed_and_never_from_this_network(
    tiny_checkpoint: Callable[[str], Path],
) -> None:
    with running(tiny_checkpoint("attention"), allow_urls=True) as server, server.client() as client:
        for url in (f"{server.url}/static/icon.svg", "http://localhost:1/", "https://[::1]/"):
            answer = client.post("/v1/captions", json={"image": url})
            assert answer.status_code == 422
            assert "not public" in answer.json()["detail"]
        chat = {"messages": [{"content": [{"type": "image_url", "image_url": {"url": f"{server.url}/"}}]}]}
        assert "not public" in client.post("/v1/chat/completions", json=chat).json()["error"]["message"]
