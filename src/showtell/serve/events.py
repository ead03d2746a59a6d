"""Answers as server-sent events: words as they are chosen, then the caption. Work ends when its client leaves."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from showtell.config.generation import DecodingOptions
from showtell.errors import ShowtellError
from showtell.inference.decode_pool import DecodedImage
from showtell.serve.answers import caption_json, number
from showtell.serve.guard import log
from showtell.serve.problems import Problem, problem_of
from showtell.tokenizer import Tokenizer

if TYPE_CHECKING:
    from showtell.serve.app import Service

T = TypeVar("T")
Event = tuple[str, dict[str, Any]]


async def unless_left(request: Request, work: Coroutine[Any, Any, T], *, seconds: float) -> T:
    """Wait for work as long as the client does; the work is cancelled if it fails to end.

    Raises:
        Problem: the deadline has passed.
        ClientDisconnect: the client left.
    """

    async def departure() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, left = asyncio.create_task(work), asyncio.create_task(departure())
    try:
        await asyncio.wait({task, left}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if left.done():
            raise ClientDisconnect
        raise Problem(504, f"no captions after {seconds:.1f} seconds", hint="Try again, or allow more time")
    finally:
        task.cancel()
        left.cancel()


async def stream_words(
    service: "Service", decoded: tuple[DecodedImage, float], options: DecodingOptions, flags: Collection[str]
) -> AsyncIterator[Event]:
    """Yield an event for each word of a caption, as soon as it is complete, and one for the caption.

    Beam search, several samples and retrieval have no words before the caption is chosen.
    """
    model, batcher, _ = service.ready()
    loop, steps = asyncio.get_running_loop(), asyncio.Queue[tuple[list[int], list[float]] | None]()

    def on_tokens(ids: list[int], log_probs: list[float]) -> None:
        loop.call_soon_threadsafe(steps.put_nowait, (ids, log_probs))

    is_single = options.method == "greedy" or (options.method == "sample" and options.samples == 1)
    has_words = is_single and options.retrieval == "off"
    task = asyncio.create_task(
        service.caption(
            batcher,
            decoded,
            options,
            attention="attention" in flags,
            on_tokens=on_tokens if has_words else None,
        )
    )
    task.add_done_callback(lambda _: steps.put_nowait(None))
    try:
        sent, words = 0, list[Event]()
        while (step := await steps.get()) is not None:
            words = _words(model.captioner.tokenizer, *step)
            for word in words[sent:-1]:  # the last one may get more tokens
                yield word
            sent = max(sent, len(words) - 1)
        outcome = await task
        for word in words[sent:]:
            yield word
        yield "caption", caption_json(outcome, model.captioner, flags)
    finally:
        task.cancel()


def _words(tokenizer: Tokenizer, ids: list[int], log_probs: list[float]) -> list[Event]:
    return [
        ("word", {"index": index, "text": text, "log_prob": number(sum(log_probs[place] for place in group))})
        for index, (text, group) in enumerate(
            zip(tokenizer.words(ids), tokenizer.word_groups(ids), strict=True)
        )
    ]


class EventStream(Response):
    """Events of one request; what it holds is given back at the end, also if the client leaves before the first."""

    def __init__(
        self,
        request: Request,
        events: AsyncIterator[Event],
        held: contextlib.ExitStack,
        *,
        seconds: float,
    ) -> None:
        super().__init__(media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._request, self._events, self._held, self._seconds = request, events, held, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        with self._held:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )

            async def send_event(name: str, data: dict[str, Any]) -> None:
                text = f"event: {name}\ndata: {json.dumps(data)}\n\n"
                await send({"type": "http.response.body", "body": text.encode(), "more_body": True})

            try:
                await unless_left(self._request, self._send_all(send_event), seconds=self._seconds)
            except ClientDisconnect:
                return
            except Exception as error:
                request_id = scope["state"]["request_id"]
                if not isinstance(error, Problem | ShowtellError):
                    log.exception("request %s failed", request_id)
                await send_event("error", problem_of(error).as_json(request_id))
            await send({"type": "http.response.body", "body": b""})

    async def _send_all(self, send_event: Callable[[str, dict[str, Any]], Awaitable[None]]) -> None:
        async for name, data in self._events:
            await send_event(name, data)
