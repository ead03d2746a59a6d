"""Features from files on the disk to features on the disk, against the network alone on the same images."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator

import numpy as np

from benchmarks.encoders import BATCH, passes, plain_network, prepared_batches
from benchmarks.harness import Row, Setting, compare, take_turns
from benchmarks.material import SMALL, jpeg_files, open_subject
from showtell.data.features import extract_features
from showtell.data.prepared import PreparedSet, prepare
from showtell.system import console

FIRST = np.zeros(1, np.int64)


def measure(setting: Setting) -> Iterator[Row]:
    """Yield what share of the bare network's speed the extraction keeps, against two forms of that network."""
    encoder = open_subject(setting).checkpoint.model.encoder
    assert encoder is not None
    prepared = _photographs(setting, setting.size(128, 32))
    rows = np.arange(1, len(prepared), dtype=np.int64)
    batches = prepared_batches(encoder, [prepared.image_path(int(row)) for row in rows])
    caches = (setting.folder / f"features-{number}" for number in itertools.count())
    laid_out = []

    def lay_out() -> None:
        # What is done once for a cache, asking the photographs for the layout above all, is no part of its speed.
        laid_out.append(next(caches))
        extract_features(prepared, encoder, laid_out[-1], rows=FIRST)

    def extract() -> None:
        directory = laid_out.pop()
        extract_features(prepared, encoder, directory, batch_size=BATCH, rows=rows)
        shutil.rmtree(directory)

    console.stderr.quiet = True  # or every round would report the size of its cache
    rounds = setting.rounds(3)
    for _ in range(rounds):
        lay_out()
    timings = take_turns(
        {
            "extraction": extract,
            "bare, eager": passes(plain_network(encoder), batches),
            "bare, the package's form": passes(encoder.network, batches),
        },
        rounds,
        warm_up=False,
    )
    console.stderr.quiet = False
    for form in ("bare, eager", "bare, the package's form"):
        yield compare(
            "extract features of JPEGs of 640×480",
            f"ResNet-50 {form}",
            timings,
            ours="extraction",
            theirs=form,
            target=0.9,
            unit="%",
            count=len(rows),
            of="images",
        )


def _photographs(setting: Setting, count: int) -> PreparedSet:
    """Return a prepared set of JPEGs of 640×480; the same photographs occur in it under several names."""
    source = setting.folder / "features"
    source.mkdir()
    lines = []
    for number, path in enumerate(jpeg_files(setting, SMALL, count)):
        shutil.copyfile(path, source / f"{number}.jpg")
        lines.append(json.dumps({"image": f"{number}.jpg", "caption": "a photograph", "split": "train"}))
    (source / "captions.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return prepare(source / "captions.jsonl", setting.folder / "features-set", max_problem_fraction=1.0)
