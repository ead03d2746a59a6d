"""Runs the application with uvicorn: loads the model, takes signals, and ends with exit code 0."""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import uvicorn
from prometheus_client.multiprocess import mark_process_dead
from starlette.concurrency import run_in_threadpool

from showtell.checkpoints.hub import find_checkpoint
from showtell.errors import ConfigError
from showtell.serve.app import Service, create_app
from showtell.serve.metrics import SHARED
from showtell.serve.model import Model
from showtell.serve.settings import ServeSettings
from showtell.system.console import note
from showtell.system.cpu import place_of_process
from showtell.system.log_lines import LogLines
from showtell.system.slow_heads import with_head_timeout
from showtell.system.supervisor import supervise


class Server(uvicorn.Server):
    """uvicorn that loads a model while it answers, and on SIGTERM finishes what it has accepted."""

    def __init__(self, settings: ServeSettings, directory: Path) -> None:
        self.service = Service(settings)
        config = uvicorn.Config(
            create_app(self.service),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            ws="none",
            http=with_head_timeout(settings.max_seconds),
            timeout_graceful_shutdown=max(1, round(settings.max_seconds)),
        )
        super().__init__(config)
        self._settings, self._directory = settings, directory
        self.failure: Exception | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and load the model meanwhile."""
        await super().startup(sockets)
        self._loading = asyncio.create_task(self._load())

    async def _load(self) -> None:
        try:
            model = await run_in_threadpool(Model.load, self._settings, self._directory)
            await self.service.start(model)
        except Exception as error:
            self.failure = error
            self.should_exit = True
        else:
            note(f"{model.name}: {model.captioner.place}; ready")

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End in order at the first signal, at once at the second; never by the signal itself."""
        with contextlib.suppress(ValueError, RuntimeError):  # not in the main thread, as in tests
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, self.drain)
        yield

    def drain(self) -> None:
        """Answer what was accepted, then exit; called again, exit at once."""
        if self.service.intake.is_draining:
            self.should_exit = self.force_exit = True
            return
        self.service.drain()
        self._draining = asyncio.create_task(self._exit_when_done())

    async def _exit_when_done(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.max_seconds):
                while self.service.in_work:
                    await asyncio.sleep(0.02)
        self.should_exit = True


def serve(settings: ServeSettings) -> None:
    """Serve until a signal ends it.

    Raises:
        ConfigError: the address cannot be used.
        ShowtellError: the captioner cannot be loaded.
    """
    directory = find_checkpoint(settings.checkpoint)
    with _listen(settings.host, settings.port) as listener:
        note(f"http://{_shown(settings.host)}:{listener.getsockname()[1]}/")
        if settings.workers > 1:
            _serve_by_workers(settings, directory, listener)
        else:
            _work(settings, directory, listener)


def _work(settings: ServeSettings, directory: Path, listener: socket.socket) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", handlers=[LogLines(sys.stderr)])
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    server = Server(settings, directory)
    server.run([listener])
    if server.failure is not None:
        raise server.failure


def _serve_by_workers(settings: ServeSettings, directory: Path, listener: socket.socket) -> None:
    context = multiprocessing.get_context("spawn")

    def start(number: int) -> BaseProcess:
        process = context.Process(target=_work, args=(_of_worker(settings, number), directory, listener))
        process.start()
        return process

    with tempfile.TemporaryDirectory(prefix="showtell-") as folder:
        os.environ[SHARED] = folder
        supervise(start, settings.workers, on_end=mark_process_dead)


def _of_worker(settings: ServeSettings, number: int) -> ServeSettings:
    """Return the settings of one worker: its part of the cores, or a GPU of its own."""
    device, threads = place_of_process(
        number, settings.workers, device=settings.device, threads=settings.threads
    )
    return settings.model_copy(update={"device": device, "threads": threads})


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        mend = "Choose another with --host and --port"
        raise ConfigError(f"cannot listen on {host}:{port}", found=str(error), mend=mend) from error


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else "localhost" if host in ("0.0.0.0", "127.0.0.1") else host
