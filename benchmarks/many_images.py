"""What ``showtell caption -o`` does around the networks: time, memory and the way back after an interruption.

python -m benchmarks.many_images 1000000 [--tiny]

Images are hard links to a few files. Captions are made up, or with ``--tiny`` those of a captioner whose networks
take almost no time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import apart

FEW = 10_000
_LINKS = 30_000
"""Hard links of one file; ext4 has at most 65,000."""


class MadeUp:
    """Yields captions as fast as it can."""

    facts: dict[str, Any] = {"kind": "made up"}  # noqa: RUF012
    place = "no networks"

    def __init__(self) -> None:
        from showtell.config.generation import DecodingOptions

        self.options = DecodingOptions()

    def stream_batches(self, batches: Iterable[Sequence[Any]], **_: Any) -> Iterator[Any]:
        from showtell.inference.caption import Caption

        for batch in batches:
            for image in batch:
                yield Caption("a brown dog runs across the green grass", -7.123456, path=str(image))


def run(folder: str, *, count: int, tiny: bool) -> dict[str, float]:
    """Caption the images; interrupt a second call at nine tenths, and resume it."""
    from benchmarks.apart import Memory
    from benchmarks.growth import tiny_checkpoint
    from showtell.bulk.caption_files import caption_files
    from showtell.bulk.engine import ThisProcess
    from showtell.inference.captioner import Captioner

    place = Path(folder)
    captioner: Any = Captioner.load(tiny_checkpoint(place), device="cpu") if tiny else MadeUp()

    class Interrupted(ThisProcess):
        at = count
        first = 0.0

        def events(self, *arguments: Any, **options: Any) -> Any:
            for number, event in enumerate(super().events(*arguments, **options)):
                self.first = self.first or time.monotonic()
                if number == self.at:
                    raise KeyboardInterrupt
                yield event

    def call(engine: ThisProcess, name: str) -> float:
        started = time.monotonic()
        caption_files(engine, [place / "images"], output=place / name, form="jsonl")
        return time.monotonic() - started

    with Memory().watched() as memory:
        seconds = call(ThisProcess(captioner), "whole.jsonl")
    engine = Interrupted(captioner)
    engine.at = count * 9 // 10
    with contextlib.suppress(KeyboardInterrupt):
        call(engine, "resumed.jsonl")
    engine = Interrupted(captioner)
    started = time.monotonic()
    engine.at = 2 * count
    call(engine, "resumed.jsonl")
    same = (place / "resumed.jsonl").read_bytes() == (place / "whole.jsonl").read_bytes()
    return {
        "seconds": seconds,
        "memory": memory.anonymous,
        "resumed_after": engine.first - started,
        "same": same,
    }


def _link_images(folder: Path, count: int) -> None:
    from PIL import Image

    folder.mkdir()
    for number in range(count):
        path = folder / f"{number:08d}.jpg"
        if number % _LINKS == 0:
            Image.effect_noise((32, 32), 60).convert("RGB").save(path)
            first = path
        else:
            os.link(first, path)


def main() -> None:
    """Measure ten thousand images and many, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=int)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    for count in (FEW, options.images):
        with tempfile.TemporaryDirectory(prefix="showtell-many-") as folder:
            _link_images(Path(folder) / "images", count)
            found = apart("benchmarks.many_images:run", folder=folder, count=count, tiny=options.tiny)
        rate = count / found["seconds"]
        print(json.dumps({"images": count, **found, "images_per_second": round(rate)}), flush=True)


if __name__ == "__main__":
    main()
