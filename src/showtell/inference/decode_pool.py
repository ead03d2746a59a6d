"""Decodes images in processes of their own: a bad file cannot take down a server or another image."""

import asyncio
import contextlib
import json
import sys
from dataclasses import dataclass
from typing import Any, BinaryIO

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
        self._command = [
            sys.executable,
            "-P",
            "-m",
            "showtell.inference.decode_process",
            json.dumps(settings),
        ]
        self._count = processes
        self._idle: asyncio.Queue[asyncio.subprocess.Process] = asyncio.Queue()
        self._all: set[asyncio.subprocess.Process] = set()
        self._replacements: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start the processes."""
        await asyncio.gather(*(self._add() for _ in range(self._count)))

    async def close(self) -> None:
        """End the processes."""
        for task in self._replacements:
            task.cancel()
        for process in list(self._all):
            await self._end(process)

    async def decode(self, file: BinaryIO, *, seconds: float) -> DecodedImage:
        """Decode a file.

        Raises:
            ImageError: it cannot be read, or not in this time, or it ended two processes.
        """
        for _ in range(2):
            process = await self._idle.get()
            is_usable = False
            try:
                async with asyncio.timeout(seconds):
                    header, pixels = await self._exchange(process, file)
                is_usable = True
                if "error" in header:
                    raise _ERRORS[header.pop("error")](header.pop("what"), **header)
                return DecodedImage(pixels.reshape(self._size, self._size, 3), **header)
            except TimeoutError as error:
                raise corrupt("the image", f"not decoded after {seconds:.0f} seconds") from error
            except (OSError, EOFError):
                continue  # perhaps another image was the cause, or memory
            finally:
                if is_usable:
                    self._idle.put_nowait(process)
                else:  # it has ended, or half an image is in its pipes
                    task = asyncio.create_task(self._replace(process))
                    self._replacements.add(task)
                    task.add_done_callback(self._replacements.discard)
        raise corrupt("the image", "its decoder ended")

    async def _exchange(
        self, process: asyncio.subprocess.Process, file: BinaryIO
    ) -> tuple[dict[str, Any], npt.NDArray[np.uint8]]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"%d\n" % file.seek(0, 2))
        file.seek(0)
        while chunk := file.read(_CHUNK):
            process.stdin.write(chunk)
            await process.stdin.drain()
        header = json.loads(await process.stdout.readline() or b"null")
        if header is None:
            raise EOFError
        size = 0 if "error" in header else 3 * self._size**2
        return header, np.frombuffer(await process.stdout.readexactly(size), np.uint8)

    async def _add(self) -> None:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe, limit=2**20)
        self._all.add(process)
        assert process.stdout is not None
        if not await process.stdout.readline():
            raise ImageError("no process that decodes images can be started", mend="Its error is above")
        self._idle.put_nowait(process)

    async def _replace(self, process: asyncio.subprocess.Process) -> None:
        await self._end(process)
        await self._add()

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        self._all.discard(process)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
