"""Judging an export on a split of a prepared set, without torch: pictures are looked at, no feature is cached."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from showtell.config.generation import DecodingOptions
from showtell.data.prepared import PreparedSet
from showtell.errors import DataError
from showtell.inference.captioner import Captioner
from showtell.metrics import Scorer, Scores
from showtell.metrics.meteor import MeteorScorer
from showtell.system.console import progress


@dataclass(frozen=True)
class ExportEvaluation:
    """What an export said of a split, in its order, how good it was, and the seconds it took."""

    texts: list[str]
    scores: Scores
    seconds: float


def evaluate_export(
    export: Path,
    *,
    data: Path,
    split: str,
    options: DecodingOptions | None = None,
    device: str = "auto",
    threads: int = 0,
    meteor: MeteorScorer | None = None,
) -> ExportEvaluation:
    """Let an export caption a whole split by the road of ``showtell caption``, and score it.

    Args:
        export: Its directory.
        data: A prepared set.
        split: One of its splits.
        options: How to decode; None: as the export says.
        device: See `Captioner.load`.
        threads: See `Captioner.load`.
        meteor: What computes METEOR beside the other scores.

    Raises:
        DataError: a picture of the set can no longer be read.
        ShowtellError: export, data or split cannot be used.
    """
    started = time.monotonic()
    prepared = PreparedSet.load(data)
    rows = [int(row) for row in prepared.split_rows(split)]
    references = {prepared.key(row): prepared.captions(row) for row in rows}
    scorer = Scorer(references, meteor=meteor)
    captioner = Captioner.load(export, device=device, threads=threads)
    chosen = (options or captioner.options).model_dump()
    texts: dict[str, str] = {}
    with progress("caption", len(rows), unit="pictures") as advance:
        stream = captioner.stream([prepared.image_path(row) for row in rows], **chosen)
        for row, caption in zip(rows, stream, strict=True):
            if caption.error is not None:
                raise DataError(
                    f"{data} is not what it was prepared from",
                    found=caption.error,
                    mend="Prepare it again",
                )
            texts[prepared.key(row)] = caption.text
            advance(1, "")
    scores = scorer.score(texts)
    return ExportEvaluation(list(texts.values()), scores, time.monotonic() - started)
