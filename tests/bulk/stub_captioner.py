"""A captioner without networks, which ends its process where it is to, for the tests of other processes."""

from __future__ import annotations

import os
import signal
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from showtell.bulk.workers import Workers
from showtell.config.generation import DecodingOptions
from showtell.errors import ConfigError
from showtell.inference.caption import Caption


class StubCaptioner:
    """Names the bytes of each image. Its scores depend on the batch, as the last digits of real ones do.

    It kills its process where it finds an image whose name begins with ``deadly``, or ``crowd`` if it is not alone.
    """

    facts: dict[str, Any] = {"kind": "stub"}  # noqa: RUF012
    options, place = DecodingOptions(), "no networks"

    def __init__(self, pause: float = 0.0) -> None:
        self._pause = pause

    def stream_batches(
        self, batches: Iterable[Sequence[Path]], *, attention: bool, **options: Any
    ) -> Iterator[Caption]:
        if attention:
            raise ConfigError("attention cannot be returned", found="no networks")
        for batch in batches:
            time.sleep(self._pause * len(batch))
            total = 0
            for image in batch:
                if image.name.startswith("deadly") or (image.name.startswith("crowd") and len(batch) > 1):
                    os.kill(os.getpid(), signal.SIGKILL)
                total += zlib.crc32(image.read_bytes())
            for image in batch:
                if not image.stat().st_size:
                    yield Caption("", 0.0, path=str(image), error=f"cannot read {image}: found an empty file")
                    continue
                yield Caption(f"{zlib.crc32(image.read_bytes()):x}", total / 7e9, path=str(image))


def stub_workers(count: int, pause: float = 0.0) -> Workers:
    """Return processes with such captioners."""
    return Workers([load_slow if pause else load] * count, StubCaptioner.facts, StubCaptioner.options)


def load(**place: Any) -> Any:
    """Return one."""
    return StubCaptioner()


def load_slow(**place: Any) -> Any:
    """Return one that takes 10 ms for an image."""
    return StubCaptioner(0.01)
