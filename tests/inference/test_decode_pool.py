"""Decoding in processes: the pixels of Python, errors in words, and processes that end."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from showtell.config.preprocessing import Preprocessing
from showtell.errors import ImageError
from showtell.images.preprocess import load_and_preprocess
from showtell.images.refusals import CorruptImageError, ImageTooLargeError
from showtell.inference.decode_pool import DecodePool

CROPPED = Preprocessing(size=30, resize="crop", crop=0.5)


def jpeg(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def with_pool(work: Callable[[DecodePool], Awaitable[None]], *, processes: int = 1) -> None:
    async def run() -> None:
        pool = DecodePool(CROPPED, processes=processes, max_pixels=100_000, max_bytes=1_000_000)
        await pool.start()
        try:
            await work(pool)
        finally:
            await pool.close()

    asyncio.run(run())


def children() -> list[int]:
    """Processes that decode images for this test."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            command = (status.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == os.getpid() and b'"size": 30' in command:
            found.append(int(status.parent.name))
    return found


@pytest.mark.thorough
def test_pixels_are_those_of_python_and_the_window_is_that_of_the_upright_image() -> None:
    data = jpeg(200, 100)

    async def work(pool: DecodePool) -> None:
        image = await pool.decode(io.BytesIO(data), seconds=10)
        assert np.array_equal(image.pixels, load_and_preprocess(data, CROPPED))
        assert image.window(CROPPED) == pytest.approx([0.375, 0.25, 0.625, 0.75])

    with_pool(work)


@pytest.mark.parametrize(
    ("data", "kind", "found"),
    [
        (jpeg(400, 300), ImageTooLargeError, "400 x 300"),
        pytest.param(jpeg(40, 30)[:300], CorruptImageError, "corrupt", marks=pytest.mark.thorough),
        pytest.param(b"%PDF-1.4", ImageError, "PDF", marks=pytest.mark.thorough),
        pytest.param(b"", ImageError, "empty", marks=pytest.mark.thorough),
    ],
)
def test_errors_are_those_of_python(data: bytes, kind: type[ImageError], found: str) -> None:
    async def work(pool: DecodePool) -> None:
        with pytest.raises(kind, match=found):
            await pool.decode(io.BytesIO(data), seconds=10)
        await pool.decode(io.BytesIO(jpeg(40, 30)), seconds=10)

    with_pool(work)


def test_a_process_that_was_killed_is_replaced_and_its_image_decoded_by_another() -> None:
    async def work(pool: DecodePool) -> None:
        (first,) = children()
        os.kill(first, signal.SIGKILL)
        await pool.decode(io.BytesIO(jpeg(40, 30)), seconds=10)
        assert children() != [first]

    with_pool(work)


def test_an_image_that_hangs_its_process_is_an_error_and_the_next_one_is_decoded() -> None:
    async def work(pool: DecodePool) -> None:
        (first,) = children()
        os.kill(first, signal.SIGSTOP)
        with pytest.raises(ImageError, match="not decoded"):
            await pool.decode(io.BytesIO(jpeg(40, 30)), seconds=0.2)
        await pool.decode(io.BytesIO(jpeg(40, 30)), seconds=10)

    with_pool(work)


@pytest.mark.thorough
def test_a_cancelled_caller_leaves_no_half_image_in_a_pipe() -> None:
    async def work(pool: DecodePool) -> None:
        (first,) = children()
        os.kill(first, signal.SIGSTOP)
        task = asyncio.create_task(pool.decode(io.BytesIO(jpeg(300, 300)), seconds=10))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        image = await pool.decode(io.BytesIO(jpeg(200, 100)), seconds=10)
        assert np.array_equal(image.pixels, load_and_preprocess(jpeg(200, 100), CROPPED))

    with_pool(work)


@pytest.mark.thorough
def test_signals_to_the_group_of_processes_end_no_decoder() -> None:
    async def work(pool: DecodePool) -> None:
        await pool.decode(io.BytesIO(jpeg(40, 30)), seconds=10)
        before = children()
        for process in before:
            os.kill(process, signal.SIGTERM)
            os.kill(process, signal.SIGINT)
        await pool.decode(io.BytesIO(jpeg(40, 30)), seconds=10)
        assert children() == before

    with_pool(work)
