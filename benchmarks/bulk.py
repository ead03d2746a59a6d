"""What ``caption -o`` costs beside the networks: from files to a finished output, against images in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.encoders import BATCH
from benchmarks.harness import Row, Setting, compare, take_turns
from benchmarks.material import SMALL, jpeg_files, open_subject
from showtell.bulk.caption_files import caption_files
from showtell.images.load import load_image


def measure(setting: Setting) -> Iterator[Row]:
    """Yield the rate of `caption_files` with JSON lines against `Captioner.stream` on decoded images."""
    subject = open_subject(setting)
    count = setting.size(128, 64)
    paths = jpeg_files(setting, SMALL, count)
    decoded = [load_image(path) for path in paths]

    def stream(images: Iterable[Any]) -> None:
        for caption in subject.captioner.stream(images, batch_size=BATCH, **subject.decoding):
            if caption.error is not None:
                raise RuntimeError(caption.error)

    with tempfile.TemporaryDirectory() as folder:

        def bulk() -> None:
            report = caption_files(
                subject.captioner,
                paths,
                output=Path(folder) / "captions.jsonl",
                form="jsonl",
                batch_size=BATCH,
                **subject.decoding,
            )
            if report.num_captioned != len(paths):
                raise RuntimeError("; ".join(report.problems))

        works = {"files to JSON lines": bulk, "decoded images": lambda: stream(decoded)}
        timings = take_turns(works, setting.rounds(5))
    yield compare(
        "caption -o of 640×480 JPEGs",
        "Captioner.stream on decoded images",
        timings,
        ours="files to JSON lines",
        theirs="decoded images",
        target=0.95,
        unit="%",
        count=count,
        of="images",
    )
