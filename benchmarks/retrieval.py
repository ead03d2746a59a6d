"""What it costs that the captions of similar images rerank the beam."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.encoders import BATCH
from benchmarks.harness import ROOT, Row, Setting, compare, skipped, take_turns
from benchmarks.material import SMALL, jpeg_files
from showtell.inference.captioner import Captioner

SHIPPED = ROOT / "models" / "flickr8k"


def measure(setting: Setting) -> Iterator[Row]:
    """Yield the time of a captioner with a datastore, the shipped one by default, against itself without it."""
    captioner = Captioner.load(setting.captioner or SHIPPED, encoder_weights=setting.encoder_weights)
    work = f"caption JPEGs of 640×480, {captioner.options.beam_size} beams reranked by similar images"
    against = "the same with --retrieval off"
    if captioner.datastore is None:
        yield skipped(work, against, 1.15, "the captioner has no datastore (showtell index)", at_most=True)
        return
    count = setting.size(64, 32)
    paths = jpeg_files(setting, SMALL, count)

    def caption(retrieval: str) -> None:
        for each in captioner.stream(paths, batch_size=BATCH, retrieval=retrieval):
            if each.error is not None:
                raise RuntimeError(each.error)

    works = {retrieval: partial(caption, retrieval) for retrieval in ("rerank", "off")}
    timings = take_turns(works, setting.rounds(5))
    yield compare(
        work,
        against,
        timings,
        ours="rerank",
        theirs="off",
        target=1.15,
        at_most=True,
        count=count,
        of="images",
    )
