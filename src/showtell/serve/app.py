"""The application: its routes, and the way of a request from upload to answer.

    upload -> options -> places in the queue -> decode -> batch -> answer

Each image of a request takes this way on its own, at the same time as the others.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable
from typing import Any, BinaryIO, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from showtell.config.generation import DecodingOptions
from showtell.errors import ImageError, ShowtellError
from showtell.serve.answers import Outcome, caption_json, timings_json
from showtell.serve.batching import Batcher, OnTokens
from showtell.serve.decoding import DecodePool
from showtell.serve.guard import Guard
from showtell.serve.metrics import Metrics
from showtell.serve.model import Model
from showtell.serve.page_files import page_routes
from showtell.serve.problems import Problem, busy, problem_of
from showtell.serve.settings import ServeSettings
from showtell.serve.uploads import Intake, closing, timeout_of
from showtell.system.cpu import usable_cores
from showtell.version import __version__

log = logging.getLogger("showtell.serve")
T = TypeVar("T")


class Service:
    """What the routes of one process have in common."""

    def __init__(self, settings: ServeSettings) -> None:
        self.settings, self.metrics, self.intake = settings, Metrics(), Intake(settings)
        self._model: Model | None = None
        self._batcher: Batcher | None = None
        self._pool: DecodePool | None = None
        self.in_work = 0
        """Requests whose upload was taken and that have no answer yet."""

    async def start(self, model: Model) -> None:
        """Take requests for a model."""
        settings = self.settings
        self._pool = DecodePool(
            model.captioner.preprocessing,
            processes=settings.decode_processes or min(4, usable_cores()),
            max_pixels=settings.max_pixels,
            max_bytes=settings.max_bytes,
        )
        await self._pool.start()
        self._batcher = Batcher(
            model.captioner,
            queue_size=settings.queue_size,
            max_wait=settings.max_wait,
            max_batch_size=settings.max_batch_size,
            on_batch=self.metrics.on_batch,
        )
        self.metrics.queue.set_function(lambda: self.batcher.admitted)
        self._batcher.start()
        self._model = model
        self.metrics.ready.set(1)

    async def close(self) -> None:
        """End the processes and the thread of the captioner."""
        if self._batcher is not None:
            self._batcher.close()
        if self._pool is not None:
            await self._pool.close()

    def drain(self) -> None:
        """Take no more requests; those that were taken are answered."""
        self.metrics.ready.set(0)
        self.intake.drain()

    @property
    def model(self) -> Model:
        """The model; the problem 503 while it is loading."""
        if self._model is None:
            raise busy(2, "the model is loading")
        return self._model

    @property
    def batcher(self) -> Batcher:
        """The queue; the problem 503 while the model is loading."""
        if self._batcher is None:
            raise busy(2, "the model is loading")
        return self._batcher

    def check_ready(self) -> None:
        """Raise the problem 503 unless requests are taken."""
        self.model  # noqa: B018 - raises
        if self.intake.is_draining:
            raise busy(1, "the server is shutting down")

    @contextlib.contextmanager
    def working(self) -> Any:
        """Count a request whose upload was taken, so that a shutdown waits for its answer."""
        self.in_work += 1
        try:
            yield
        finally:
            self.in_work -= 1

    async def caption(
        self,
        upload: BinaryIO,
        options: DecodingOptions,
        *,
        attention: bool,
        seconds: float,
        on_tokens: OnTokens | None = None,
    ) -> Outcome:
        """Decode and caption one image; its problem is part of the outcome."""
        assert self._pool is not None
        started = time.monotonic()
        try:
            image = await self._pool.decode(upload, seconds=seconds)
        except ImageError as error:
            self.metrics.images.labels("unreadable").inc()
            return Outcome(problem=problem_of(error))
        decoded = time.monotonic()
        try:
            caption, job = await self.batcher.caption(
                image.pixels, options, attention=attention, on_tokens=on_tokens
            )
        except ShowtellError as error:
            log.error("the captioner failed: %s", error)
            raise problem_of(error) from error
        spans = {
            "decode": decoded - started,
            "queue": job.started - job.ready,
            "generate": job.finished - job.started,
        }
        for phase, span in spans.items():
            self.metrics.phases.labels(phase).observe(span)
        self.metrics.images.labels("captioned").inc()
        return Outcome(caption, image, seconds=spans)


async def unless_gone(request: Request, work: Awaitable[T], *, seconds: float) -> T:
    """Wait for work, as long as the client waits for it.

    Raises:
        Problem: the deadline has passed.
        ClientDisconnect: the client left; the work is cancelled.
    """

    async def departure() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, gone = asyncio.ensure_future(work), asyncio.create_task(departure())
    try:
        await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise ClientDisconnect
        raise Problem(504, f"no captions after {seconds:.1f} seconds", hint="Try again, or allow more time")
    finally:
        for pending in (task, gone):
            pending.cancel()


def create_app(settings: ServeSettings, service: Service | None = None) -> FastAPI:
    """Return the application; the server loads the model into its ``state.service``."""
    service = service or Service(settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await service.close()

    app = FastAPI(title="showtell", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.service = service
    app.include_router(page_routes())

    @app.exception_handler(Problem)
    async def on_problem(request: Request, problem: Problem) -> Response:
        return problem.response(request.scope)

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        problem = Problem(error.status_code, "there is no such route or method", headers=error.headers)
        return problem.response(request.scope)

    @app.exception_handler(ShowtellError)
    async def on_own_error(request: Request, error: ShowtellError) -> Response:
        return problem_of(error).response(request.scope)

    @app.exception_handler(ClientDisconnect)
    async def on_departure(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=400)  # nobody reads it

    @app.post("/v1/captions")
    async def captions(request: Request) -> Response:
        started = time.monotonic()
        service.check_ready()
        service.batcher.check()
        seconds = timeout_of(request.headers, settings.max_seconds)
        with closing(await service.intake.read(request)) as wanted, service.working():
            captioner = service.model.captioner
            options = wanted.options(captioner, attends=service.model.attends)
            request.state.facts["images"] = len(wanted.images)
            with service.batcher.places(len(wanted.images)):
                work = asyncio.gather(
                    *(
                        service.caption(
                            upload, options, attention="attention" in wanted.flags, seconds=seconds
                        )
                        for upload in wanted.images
                    )
                )
                outcomes = await unless_gone(request, work, seconds=seconds)
            if len(outcomes) == 1 and outcomes[0].problem is not None:
                raise outcomes[0].problem
            answer = {
                "model": service.model.name,
                "captions": [caption_json(outcome, captioner, tuple(wanted.flags)) for outcome in outcomes],
                "timings": timings_json(outcomes, time.monotonic() - started),
            }
            request.state.facts.update(answer["timings"])
            return JSONResponse(answer)

    @app.get("/v1/model")
    async def model() -> Response:
        return JSONResponse(service.model.describe(settings))

    @app.get("/healthz")
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get("/readyz")
    async def readyz() -> Response:
        service.check_ready()
        return JSONResponse({"status": "ready"})

    @app.get("/metrics")
    async def metrics() -> Response:
        return PlainTextResponse(
            service.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    key = settings.api_key
    app.add_middleware(
        Guard, api_key=None if key is None else key.get_secret_value(), metrics=service.metrics
    )
    return app
