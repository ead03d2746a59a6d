"""A queue of images for an asyncio application: those that wait together are captioned together, a lone one at once.

What may wait is bounded twice: by the number of images, and by the seconds that those before predict for them.
More is refused at once.
"""

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from showtell.config.generation import DecodingOptions
from showtell.errors import ShowtellError
from showtell.generation.hypothesis import RunningHypotheses
from showtell.inference.caption import Caption
from showtell.inference.captioner import Captioner
from showtell.inference.captioner_process import CaptionerProcess

OnTokens = Callable[[list[int], list[float]], None]
_RISE, _FALL = 0.2, 0.02
"""Smoothing of the predicted pace: nearer to the slow images than to the mean, as it is to hold for nearly all."""
_MAX_RETRY = 5  # seconds; clients sleep longer than they should when more is advised


class QueueFullError(ShowtellError):
    """No more images are taken; in ``seconds`` they may be."""

    def __init__(self, waiting: int, seconds: int) -> None:
        super().__init__("no more images are taken", found=f"{waiting} that wait for their captions")
        self.seconds = seconds


@dataclass(eq=False)
class Job:
    """An image that waits for its caption."""

    pixels: npt.NDArray[np.uint8]  # [S, S, 3]
    options: DecodingOptions
    attention: bool
    on_tokens: OnTokens | None  # gets all tokens so far and their log-probabilities, in the batch's thread
    caption: asyncio.Future[Caption]
    ready: float = field(default_factory=time.monotonic)
    started: float = 0.0
    finished: float = 0.0

    @property
    def group(self) -> tuple[DecodingOptions, bool]:
        """Images of one group can be captioned together."""
        return self.options, self.attention


class Batcher:
    """Captions images in batches of those that wait."""

    def __init__(
        self,
        captioner: Captioner | CaptionerProcess,
        *,
        queue_size: int,
        max_wait: float,
        max_batch_size: int,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        self._captioner, self._on_batch = captioner, on_batch
        self._queue_size, self._max_wait, self._max_batch_size = queue_size, max_wait, max_batch_size
        self._full = min(queue_size, max_batch_size)
        self._waiting: deque[Job] = deque()
        self._changed = asyncio.Event()
        self._seconds_per_image = 0.0
        self._dispatcher: asyncio.Task[None] | None = None
        pool = captioner.batch_pool
        # One batch has all cores. More than fill it are captioned as several at once, each on some of the cores.
        self._whole = ThreadPoolExecutor(1, thread_name_prefix="captions")
        self._parts = ThreadPoolExecutor(pool.count, thread_name_prefix="captions", initializer=pool.enter)
        self._num_parts, self._runs_whole = pool.count, False
        self._running: set[asyncio.Task[None]] = set()
        self.admitted = 0
        """Images that were accepted and have no caption yet."""

    def start(self) -> None:
        """Begin to caption what arrives."""
        self._dispatcher = asyncio.create_task(self._dispatch())

    def close(self) -> None:
        """Stop after the batch in work."""
        for task in (self._dispatcher, *self._running):
            if task is not None:
                task.cancel()
        for threads in (self._whole, self._parts):
            threads.shutdown(wait=True, cancel_futures=True)

    def check(self, count: int = 1) -> None:
        """Raise a QueueFullError if so many images more would wait too long."""
        images = self.admitted + count
        predicted = images * self._seconds_per_image
        if images > self._queue_size or (self.admitted and predicted > self._max_wait):
            # Clients that are refused together must not return together.
            seconds = min(_MAX_RETRY, max(1, round(random.uniform(0.5, 1.5) * predicted)))
            raise QueueFullError(self.admitted, seconds)

    @contextlib.contextmanager
    def places(self, count: int) -> Iterator[None]:
        """Hold places for images, or raise a QueueFullError."""
        self.check(count)
        self.admitted += count
        ahead, started = self.admitted, time.monotonic()
        try:
            yield
            # One that had the captioner to itself says little about the pace of many.
            per_image = (time.monotonic() - started) / ahead
            if ahead >= self._full or per_image < self._seconds_per_image:
                change = per_image - self._seconds_per_image
                self._seconds_per_image += (_RISE if change > 0 else _FALL) * change
        finally:
            self.admitted -= count

    async def caption(
        self,
        pixels: npt.NDArray[np.uint8],
        options: DecodingOptions,
        *,
        attention: bool = False,
        on_tokens: OnTokens | None = None,
    ) -> tuple[Caption, Job]:
        """Caption one image, uint8 [S, S, 3]; a caller that is cancelled leaves the queue."""
        job = Job(pixels, options, attention, on_tokens, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._changed.set()
        return await job.caption, job

    def _take(self) -> list[Job]:
        """Return the first job that is still wanted and those that can be captioned with it."""
        batch: list[Job] = []
        others: deque[Job] = deque()
        while self._waiting:
            job = self._waiting.popleft()
            if job.caption.done():  # cancelled
                continue
            if len(batch) < self._max_batch_size and (not batch or job.group == batch[0].group):
                batch.append(job)
            else:
                others.append(job)
        self._waiting = others
        return batch

    async def _dispatch(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._waiting and not self._runs_whole and len(self._running) < self._num_parts:
                fits = len(self._waiting) <= self._max_batch_size
                if not (batch := self._take()):
                    continue
                self._runs_whole = not self._running and (fits or self._num_parts == 1)
                task = asyncio.create_task(self._run(batch, self._whole if self._runs_whole else self._parts))
                self._running.add(task)
                task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._runs_whole = False
        self._changed.set()

    async def _run(self, batch: Sequence[Job], threads: ThreadPoolExecutor) -> None:
        """Caption a batch; if it fails, its images one by one, so that only those that cause it fail."""
        loop, started = asyncio.get_running_loop(), time.monotonic()
        try:
            self._deliver(batch, await loop.run_in_executor(threads, self._caption, batch), started)
        except Exception as error:
            if len(batch) > 1:
                for job in batch:
                    await self._run([job], threads)
            elif not batch[0].caption.done():
                batch[0].caption.set_exception(error)

    def _deliver(self, batch: Sequence[Job], captions: Sequence[Caption], started: float) -> None:
        finished = time.monotonic()
        self._on_batch(len(batch), finished - started)
        for job, caption in zip(batch, captions, strict=True):
            job.started, job.finished = started, finished
            if not job.caption.done():
                job.caption.set_result(caption)

    def _caption(self, batch: Sequence[Job]) -> list[Caption]:
        options, attention = batch[0].group
        listeners = {place: job.on_tokens for place, job in enumerate(batch) if job.on_tokens is not None}

        def on_step(images: npt.NDArray[np.int64], sequences: RunningHypotheses) -> None:
            for row, image in enumerate(images.tolist()):
                if image in listeners:
                    listeners[image](sequences.ids[row, 0].tolist(), sequences.log_probs[row, 0].tolist())

        return self._captioner.caption_preprocessed(
            np.stack([job.pixels for job in batch]),
            options,
            attention=attention,
            on_step=on_step if listeners else None,
        )
