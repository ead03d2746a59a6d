"""The queue of an asyncio application: more than a batch runs as two, and one bad image fails alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from showtell.inference.batcher import Batcher, QueueFullError
from showtell.inference.caption import Caption
from showtell.inference.captioner import Captioner
from showtell.system.batch_pool import BatchPool


@pytest.fixture
def captioner(tiny_checkpoint: Callable[[str], Path]) -> Captioner:
    return Captioner.load(tiny_checkpoint("attention"), device="cpu")


def images(count: int) -> list[npt.NDArray[np.uint8]]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8))


def captions_of(captioner: Captioner, pictures: list[npt.NDArray[np.uint8]], size: int) -> list[Any]:
    async def run() -> list[Any]:
        batcher = Batcher(captioner, queue_size=99, max_wait=99, max_batch_size=size)
        batcher.start()
        try:
            waiting = [batcher.caption(each, captioner.options) for each in pictures]
            return await asyncio.gather(*waiting, return_exceptions=True)
        finally:
            batcher.close()

    return asyncio.run(run())


def test_more_than_fill_a_batch_are_captioned_as_several_at_once(
    captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[str] = []
    pool = BatchPool(2, lambda: entered.append(threading.current_thread().name))
    monkeypatch.setattr(Captioner, "batch_pool", pool)
    meeting = threading.Barrier(2)
    original = Captioner.caption_preprocessed

    def together(self: Captioner, *arguments: Any, **options: Any) -> list[Caption]:
        meeting.wait(60)  # for the other batch
        return original(self, *arguments, **options)

    monkeypatch.setattr(Captioner, "caption_preprocessed", together)
    results = captions_of(captioner, images(6), size=3)
    monkeypatch.undo()
    expected = captioner.caption_preprocessed(np.stack(images(6)), captioner.options)
    assert [caption.text for caption, _ in results] == [caption.text for caption in expected]
    assert len(entered) == 2


def test_what_fits_into_one_batch_has_all_threads(
    captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[int] = []
    monkeypatch.setattr(Captioner, "batch_pool", BatchPool(2, lambda: entered.append(1)))
    assert len(captions_of(captioner, images(3), size=3)) == 3
    assert entered == []


def test_the_predicted_wait_stays_near_that_of_slow_images(captioner: Captioner) -> None:
    async def run() -> None:
        batcher = Batcher(captioner, queue_size=9, max_wait=0.05, max_batch_size=1)
        for seconds in (0.2, 0.001, 0.001, 0.001, 0.001, 0.001):
            with batcher.places(1):
                await asyncio.sleep(seconds)
        with batcher.places(1), pytest.raises(QueueFullError):
            batcher.check()

    asyncio.run(run())


def test_an_image_that_makes_its_batch_fail_fails_alone(
    captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = images(4)
    original = Captioner.caption_preprocessed

    def failing(self: Captioner, batch: npt.NDArray[np.uint8], *arguments: Any, **options: Any) -> Any:
        if any(np.array_equal(each, pictures[2]) for each in batch):
            raise MemoryError("too much")
        return original(self, batch, *arguments, **options)

    monkeypatch.setattr(Captioner, "caption_preprocessed", failing)
    results = captions_of(captioner, pictures, size=8)
    assert [isinstance(result, MemoryError) for result in results] == [False, False, True, False]
