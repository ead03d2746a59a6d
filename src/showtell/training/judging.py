"""Judging a captioner: its loss under teacher forcing, and the scores of what it says on its own."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from showtell.console import progress
from showtell.data.batches import Batches, Memories
from showtell.data.prepared import PreparedSet
from showtell.files import write_text
from showtell.models.captioning import CaptioningModel
from showtell.options import DecodingOptions
from showtell.scoring import Evaluator, Scores
from showtell.search import Hypothesis, Specials, search
from showtell.text.tokenizer import Tokenizer
from showtell.training.device import Compute
from showtell.training.objectives import cross_entropy


@dataclass(frozen=True)
class Judgement:
    """What a captioner said of a split, and how good it was.

    Attributes:
        rows: Rows of the prepared set, in the split's order.
        hypotheses: The best caption of each.
        texts: The same as text.
        scores: Of the whole split and of each picture.
        seconds: Time of looking, telling and scoring.
    """

    rows: list[int]
    hypotheses: list[Hypothesis]
    texts: list[str]
    scores: Scores
    seconds: float


class Judge:
    """Knows a split's references, tokenised once.

    Args:
        prepared: The captioned set.
        split: The split that is judged.
        memories: Where the memory of its pictures comes from.
        tokenizer: The captioner's.
        compute: Device and precision.
        pictures: Pictures decoded at once.
        rows: The pictures of the split that are judged, int64 [N]; None: all.
    """

    def __init__(
        self,
        prepared: PreparedSet,
        split: str,
        memories: Memories,
        tokenizer: Tokenizer,
        compute: Compute,
        *,
        pictures: int = 64,
        rows: np.ndarray | None = None,
    ) -> None:
        self.prepared, self.memories, self.tokenizer = prepared, memories, tokenizer
        self.compute, self.pictures = compute, pictures
        self.rows = prepared.split_rows(split) if rows is None else rows
        self._evaluator = Evaluator(
            {prepared.key(int(row)): prepared.captions(int(row)) for row in self.rows}
        )

    def judge(
        self, model: CaptioningModel, options: DecodingOptions, *, attention: bool = False
    ) -> Judgement:
        """Let the captioner caption the whole split, and score it."""
        started = time.monotonic()
        model.eval()
        specials = specials_of(self.tokenizer)
        hypotheses: list[Hypothesis] = []
        with progress("caption", len(self.rows), unit="pictures") as advance:
            for rows in self._chunks():
                # In full precision, as everywhere captions are made: the same words on every road.
                with torch.inference_mode():
                    memory = self.memories.load(rows, np.zeros(len(rows), dtype=bool))
                    features = model.see(memory.to(self.compute.device))
                    found = search(model.decoder, features, options, specials, attention=attention)
                hypotheses += [alternatives[0] for alternatives in found]
                advance(len(rows), "")
        texts = [self.tokenizer.decode(hypothesis.ids) for hypothesis in hypotheses]
        keys = [self.prepared.key(int(row)) for row in self.rows]
        scores = self._evaluator.score(dict(zip(keys, texts, strict=True)))
        return Judgement(self.rows.tolist(), hypotheses, texts, scores, time.monotonic() - started)

    def _chunks(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self.rows), self.pictures):
            yield self.rows[start : start + self.pictures]


@torch.no_grad()
def mean_loss(model: CaptioningModel, batches: Batches, compute: Compute) -> float:
    """Return the mean cross-entropy per token (nats) of a split under teacher forcing, without smoothing."""
    model.eval()
    total, tokens = 0.0, 0
    for batch in batches.in_order():
        with compute.autocast():
            loss, count = cross_entropy(model, batch.to(compute.device), pad_id=batches.tokenizer.pad_id)
        total += float(loss)
        tokens += count
    return total / max(1, tokens)


def write_predictions(
    path: Path,
    prepared: PreparedSet,
    judgement: Judgement,
    tokenizer: Tokenizer,
    grid: tuple[int, int] | None,
) -> None:
    """Write what was said of each picture, one JSON object a line, beside references, scores and attention."""
    lines = []
    for row, hypothesis, text in zip(judgement.rows, judgement.hypotheses, judgement.texts, strict=True):
        key = prepared.key(row)
        looked = hypothesis.attention
        line: dict[str, Any] = {
            "key": key,
            "picture": str(prepared.picture_path(row)),
            "candidate": text,
            "references": prepared.captions(row),
            "scores": judgement.scores.per_picture[key],
            "score": hypothesis.score,
            "words": tokenizer.words(hypothesis.ids),
            "attention": None if looked is None else np.round(looked.astype(float), 4).tolist(),
            "grid": None if looked is None or grid is None else list(grid),
        }
        lines.append(json.dumps(line, ensure_ascii=False))
    write_text(path, "".join(line + "\n" for line in lines))


def specials_of(tokenizer: Tokenizer) -> Specials:
    """Return the ids of a vocabulary's special tokens."""
    return Specials(tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id)
