"""Decodes uploaded images in processes of their own: a bad file cannot take down the server or another request."""

import asyncio
import contextlib
import json
import sys
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from showtell.config.preprocessing import Preprocessing
from showtell.errors import ImageError
from showtell.images.preprocess import crop_box
from showtell.images.refusals import CorruptImageError, ImageTooLargeError, corrupt

_CHUNK = 2**16
_ERRORS = {kind.__name__: kind for kind in (ImageError, ImageTooLargeError, CorruptImageError)}


@dataclass(frozen=True)
class DecodedImage:
    """An encoder's input uint8 [S, S, 3], and the size of the upright image that it was made of."""

    pixels: npt.NDArray[np.uint8]
    height: int
    width: int

    def window(self, preprocessing: Preprocessing) -> list[float]:
        """Return left, top, right and bottom of the encoder's view as fractions of the image."""
        left, top, right, bottom = crop_box(self.height, self.width, preprocessing)
        return [left / self.width, top / self.height, right / self.width, bottom / self.height]


class DecodePool:
    """Processes that decode one image each at a time; one that ends, or takes too long, is replaced."""

    def __init__(
        self, preprocessing: Preprocessing, *, processes: int, max_pixels: int, max_bytes: int
    ) -> None:
        self._size = preprocessing.size
        limits = {"max_pixels": max_pixels, "max_bytes": max_bytes}
        settings = {"preprocessing": preprocessing.model_dump(mode="json"), "limits": limits}
        self._command = [sys.executable, "-P", "-m", "showtell.serve.decode_process", json.dumps(settings)]
        self._count = processes
        self._idle: asyncio.Queue[asyncio.subprocess.Process] = asyncio.Queue()
        self._all: set[asyncio.subprocess.Process] = set()

    async def start(self) -> None:
        """Start the processes."""
        for process in await asyncio.gather(*(self._start() for _ in range(self._count))):
            self._idle.put_nowait(process)

    async def close(self) -> None:
        """End the processes."""
        for process in list(self._all):
            await self._end(process)

    async def decode(self, upload: BinaryIO, *, seconds: float) -> DecodedImage:
        """Decode an upload, and close it.

        Raises:
            ImageError: the image cannot be read, or not in this time.
        """
        # A caller that is cancelled must not leave half an image in a pipe.
        return await asyncio.shield(asyncio.create_task(self._decode(upload, seconds)))

    async def _decode(self, upload: BinaryIO, seconds: float) -> DecodedImage:
        with upload:
            process = await self._idle.get()
            try:
                async with asyncio.timeout(seconds):
                    return await self._exchange(process, upload)
            except TimeoutError as error:
                process = await self._replace(process)
                raise corrupt("the image", f"not decoded after {seconds:.0f} seconds") from error
            except (OSError, EOFError) as error:
                process = await self._replace(process)
                raise corrupt("the image", "its decoder ended") from error
            finally:
                self._idle.put_nowait(process)

    async def _exchange(self, process: asyncio.subprocess.Process, upload: BinaryIO) -> DecodedImage:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"%d\n" % upload.seek(0, 2))
        upload.seek(0)
        while chunk := upload.read(_CHUNK):
            process.stdin.write(chunk)
            await process.stdin.drain()
        header = json.loads(await process.stdout.readline() or b"null")
        if header is None:
            raise EOFError
        if "error" in header:
            raise _ERRORS[header.pop("error")](header.pop("what"), **header)
        pixels = np.frombuffer(await process.stdout.readexactly(3 * self._size**2), np.uint8)
        return DecodedImage(pixels.reshape(self._size, self._size, 3), **header)

    async def _start(self) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe, limit=2**20)
        self._all.add(process)
        return process

    async def _replace(self, process: asyncio.subprocess.Process) -> asyncio.subprocess.Process:
        await self._end(process)
        return await self._start()

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        self._all.discard(process)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
