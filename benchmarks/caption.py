"""Captions from JPEG files to text, against the encoder's network alone on the same batches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.encoders import BATCH, other_forms, passes, plain_network, prepared_batches
from benchmarks.harness import Row, Setting, compare, take_turns
from benchmarks.material import LARGE, SMALL, jpeg_files, open_subject

WORK = "caption JPEGs of {}, beam 3, batch 32"


def measure(setting: Setting) -> Iterator[Row]:
    """Yield two rows for each size of image."""
    subject = open_subject(setting)
    encoder = subject.checkpoint.model.encoder
    assert encoder is not None
    forms: dict[str, float] = {}
    for size, name in ((SMALL, "640×480"), (LARGE, "12 megapixels")):
        # Batches in pairs: two are captioned at once, and a last one alone would leave half of the cores idle.
        count = setting.size(128 if size == SMALL else 64, 32)
        paths = jpeg_files(setting, size, count)
        batches = prepared_batches(encoder, paths)
        bare = {
            "bare, eager": passes(plain_network(encoder), batches),
            "bare, the package's form": passes(encoder.network, batches),
        }
        if not forms:
            bare |= other_forms(encoder, batches, compiled=setting.full)

        def caption(paths: list[Path] = paths) -> None:
            for caption in subject.captioner.stream(paths, batch_size=BATCH, **subject.decoding):
                if caption.error is not None:
                    raise RuntimeError(caption.error)

        timings = take_turns({"captions": caption, **bare}, setting.rounds(3), warm_up=False)
        forms = {form: timing.median for form, timing in timings.items() if form != "captions"}
        fastest = min(forms, key=lambda form: forms[form])
        same: dict[str, Any] = {
            "timings": timings,
            "ours": "captions",
            "unit": "%",
            "count": count,
            "of": "images",
        }
        dtype = str(encoder.dtype).removeprefix("torch.")
        yield compare(
            WORK.format(name), f"bare ResNet-50, eager {dtype}", theirs="bare, eager", target=1.0, **same
        )
        yield compare(WORK.format(name), f"fastest encoder: {fastest}", theirs=fastest, target=0.8, **same)
