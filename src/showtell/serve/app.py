"""The application: its routes, and the way of a request from upload to answer.

    upload -> options -> places in the queue -> decode -> batch -> answer

Each image of a request takes this way on its own, at the same time as the others.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, BinaryIO

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from showtell.config.generation import DecodingOptions
from showtell.errors import ImageError, ShowtellError
from showtell.generation import describe_unused
from showtell.inference.batcher import Batcher, OnTokens
from showtell.inference.decode_pool import DecodedImage, DecodePool
from showtell.serve.answers import Outcome, caption_json, timings_json
from showtell.serve.chat import ChatRequest, chat_answer, describe_models
from showtell.serve.events import EventStream, stream_words, unless_left
from showtell.serve.guard import Guard
from showtell.serve.metrics import Metrics
from showtell.serve.model import Model
from showtell.serve.page_files import page_routes
from showtell.serve.problems import Problem, busy, ending, problem_of
from showtell.serve.settings import ServeSettings
from showtell.serve.uploads import CaptionRequest, Intake, timeout_of
from showtell.system.cpu import usable_cores

_MAX_DECODE = 10.0  # seconds


class Service:
    """What the routes of one process have in common."""

    def __init__(self, settings: ServeSettings) -> None:
        self.settings, self.metrics, self.intake = settings, Metrics(), Intake(settings)
        self._ready: tuple[Model, Batcher, DecodePool] | None = None
        self.in_work = 0
        """Requests that were admitted and have no answer yet."""

    async def start(self, model: Model) -> None:
        """Take requests for a model."""
        settings = self.settings
        pool = DecodePool(
            model.captioner.preprocessing,
            processes=settings.decode_processes or min(4, usable_cores()),
            max_pixels=settings.max_pixels,
            max_bytes=settings.max_bytes,
        )
        await pool.start()
        batcher = Batcher(
            model.captioner,
            queue_size=settings.queue_size,
            max_wait=settings.max_wait,
            max_batch_size=settings.max_batch_size,
            on_batch=self.metrics.on_batch,
        )
        batcher.start()
        self._ready = model, batcher, pool
        self.metrics.ready.set(1)

    async def close(self) -> None:
        """End the processes."""
        if self._ready is not None:
            model, batcher, pool = self._ready
            model.captioner.close()
            batcher.close()
            await pool.close()

    def drain(self) -> None:
        """Take no more requests; those that were taken are answered."""
        self.metrics.ready.set(0)
        self.intake.drain()

    def ready(self) -> tuple[Model, Batcher, DecodePool]:
        """Return what answers requests; the problem 503 unless they are taken."""
        if self.intake.is_draining:
            raise ending()
        if self._ready is None:
            raise busy(2, "the model is loading")
        return self._ready

    @contextlib.contextmanager
    def places(self, batcher: Batcher, count: int) -> Iterator[None]:
        """Hold places in the queue for images; the problem 503 if they would wait too long."""
        with batcher.places(count):
            self.in_work += 1
            self.metrics.queue.inc(count)
            try:
                yield
            finally:
                self.metrics.queue.dec(count)
                self.in_work -= 1

    async def decode(self, pool: DecodePool, upload: BinaryIO) -> tuple[DecodedImage, float]:
        """Decode an upload and return how long it took; its problem if it cannot be read."""
        started = time.monotonic()
        try:
            image = await pool.decode(upload, seconds=min(_MAX_DECODE, self.settings.max_seconds))
        except ImageError as error:
            self.metrics.images.labels("unreadable").inc()
            raise problem_of(error) from error
        return image, time.monotonic() - started

    async def caption(
        self,
        batcher: Batcher,
        decoded: tuple[DecodedImage, float],
        options: DecodingOptions,
        *,
        attention: bool,
        on_tokens: OnTokens | None = None,
    ) -> Outcome:
        """Caption one decoded image with those that wait at the same time."""
        image, seconds = decoded
        caption, job = await batcher.caption(image.pixels, options, attention=attention, on_tokens=on_tokens)
        spans = {
            "decode": seconds,
            "queue": job.started - job.ready,
            "generate": job.finished - job.started,
        }
        for phase, span in spans.items():
            self.metrics.phases.labels(phase).observe(span)
        self.metrics.images.labels("captioned" if caption.error is None else "unmet").inc()
        if caption.error is not None:
            detail = f"no caption of at most {options.max_tokens} tokens meets all constraints"
            raise Problem(422, detail, title="No caption", hint="Raise max_tokens, or omit a constraint")
        return Outcome(caption, image, seconds=spans)

    async def caption_all(
        self, request: Request, wanted: CaptionRequest, options: DecodingOptions, seconds: float
    ) -> Sequence[Outcome]:
        """Caption the images of a request; a bad one among several has its problem as its outcome."""
        _, batcher, pool = self.ready()

        async def one(upload: BinaryIO) -> Outcome:
            try:
                decoded = await self.decode(pool, upload)
                return await self.caption(batcher, decoded, options, attention="attention" in wanted.flags)
            except Problem as problem:
                if len(wanted.images) == 1:
                    raise
                return Outcome(problem=problem)

        async def every() -> Sequence[Outcome]:
            return await asyncio.gather(*map(one, wanted.images))

        with self.places(batcher, len(wanted.images)):
            return await unless_left(request, every(), seconds=seconds)


def create_app(service: Service) -> FastAPI:
    """Return the application of a service, which its server starts."""
    settings = service.settings

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await service.close()

    # openapi.yaml describes the routes. A redirect would lose the body, and the prefix of a proxy.
    app = FastAPI(openapi_url=None, lifespan=lifespan, redirect_slashes=False)
    app.include_router(page_routes(keyed=settings.api_key is not None))

    @app.post("/v1/captions")
    async def captions(request: Request) -> Response:
        started = time.monotonic()
        model, batcher, pool = service.ready()
        seconds = timeout_of(request.headers, settings.max_seconds)
        with contextlib.ExitStack() as held:
            wanted = held.enter_context(contextlib.closing(await service.intake.read(request)))
            options = wanted.options(model)
            request.state.facts["images"] = len(wanted.images)
            if "text/event-stream" in request.headers.get("accept", ""):
                if len(wanted.images) > 1:
                    raise Problem(400, "events are sent for one image only", hint="Send a request for each")
                held.enter_context(service.places(batcher, 1))
                decoding = service.decode(pool, wanted.images[0])
                decoded = await unless_left(request, decoding, seconds=seconds)
                events = stream_words(service, decoded, options, wanted.flags)
                return EventStream(request, events, held.pop_all(), seconds=seconds)
            outcomes = await service.caption_all(request, wanted, options, seconds)
        answer = {
            "model": model.name,
            "captions": [caption_json(outcome, model.captioner, wanted.flags) for outcome in outcomes],
            "timings": timings_json(outcomes, time.monotonic() - started),
        }
        if warning := describe_unused(options, model.captioner.tokenizer):
            answer["warnings"] = [warning]
        request.state.facts.update(answer["timings"])
        return JSONResponse(answer)

    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        model = service.ready()[0]
        wanted = CaptionRequest()

        def take_image(chat: ChatRequest) -> None:
            wanted.images.append(service.intake.open(chat.image()))
            chat.messages.clear()  # as long as the request waits, its image is on the disk alone

        with contextlib.closing(wanted):
            chat = await service.intake.read_json(request, ChatRequest, take_image)
            wanted.values = chat.options(model.captioner.options)
            (outcome,) = await service.caption_all(
                request, wanted, wanted.options(model), timeout_of(request.headers, settings.max_seconds)
            )
        return chat_answer(chat, outcome, model.name)

    @app.get("/v1/models")
    @app.get("/v1/models/{name}")
    async def models(name: str = "") -> Response:
        return JSONResponse(describe_models(service.ready()[0].name, name))

    @app.get("/v1/model")
    async def model() -> Response:
        return JSONResponse(service.ready()[0].describe(settings))

    @app.get("/healthz")
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get("/readyz")
    async def readyz() -> Response:
        service.ready()
        return JSONResponse({"status": "ready"})

    @app.get("/metrics")
    async def metrics() -> Response:
        return PlainTextResponse(
            service.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    @app.exception_handler(Problem)
    @app.exception_handler(ShowtellError)
    async def on_problem(request: Request, error: Exception) -> Response:
        return problem_of(error).response(request.scope)

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        detail = "the route has no such method" if error.status_code == 405 else "there is no such route"
        return Problem(error.status_code, detail, headers=error.headers).response(request.scope)

    @app.exception_handler(ClientDisconnect)
    async def on_departure(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=400)  # nobody reads it

    key: Any = settings.api_key
    key = key and key.get_secret_value()
    app.add_middleware(Guard, api_key=key, metrics=service.metrics, ready=service.ready)
    return app
