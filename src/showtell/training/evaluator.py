"""Judging a captioner: its loss under teacher forcing, and the scores of what it says on its own."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.config.generation import DecodingOptions
from showtell.data.batches import Batches, FeatureSource
from showtell.data.prepared import PreparedSet
from showtell.generation import Hypothesis, SpecialTokens, search
from showtell.inference.onednn_decoder import packed_decoder
from showtell.metrics import Scorer, Scores
from showtell.metrics.meteor import MeteorScorer
from showtell.system.console import progress
from showtell.tokenizer import Tokenizer
from showtell.training.device import DeviceConfig
from showtell.training.distributed import DistributedContext
from showtell.training.losses import cross_entropy


@dataclass(frozen=True)
class Evaluation:
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


class Evaluator:
    """Knows a split's references, tokenised once.

    Args:
        prepared: The captioned set.
        split: The split that is judged.
        memories: Where the memory of its pictures comes from.
        tokenizer: The captioner's.
        compute: Device and precision.
        pictures: Pictures decoded at once.
        rows: The pictures of the split that are judged, int64 [N]; None: all.
        processes: Share the pictures; the main one knows the references.
        meteor: What computes METEOR beside the other scores.
    """

    def __init__(
        self,
        prepared: PreparedSet,
        split: str,
        memories: FeatureSource,
        tokenizer: Tokenizer,
        compute: DeviceConfig,
        *,
        pictures: int = 64,
        rows: np.ndarray | None = None,
        processes: DistributedContext | None = None,
        meteor: MeteorScorer | None = None,
    ) -> None:
        self.prepared, self.memories, self.tokenizer = prepared, memories, tokenizer
        self.compute, self.pictures, self._meteor = compute, pictures, meteor
        self.rows = prepared.split_rows(split) if rows is None else rows
        self.processes = processes or DistributedContext()
        # Before the run is touched: this may find pictures without references.
        self.processes.broadcast_from_rank0(lambda: self._scorer and None)

    @cached_property
    def _scorer(self) -> Scorer:
        references = {self.prepared.key(int(row)): self.prepared.captions(int(row)) for row in self.rows}
        return Scorer(references, meteor=self._meteor)

    def evaluate(
        self, model: CaptioningModel, options: DecodingOptions, *, attention: bool = False
    ) -> Evaluation:
        """Let the captioner caption the whole split, and score it."""
        started = time.monotonic()
        model.eval()
        specials = SpecialTokens.of(self.tokenizer)
        decoder = packed_decoder(model.decoder)
        hypotheses: list[Hypothesis] = []
        mine = self.processes.share(self.rows)
        with progress("caption", len(mine), unit="pictures") as advance:
            for start in range(0, len(mine), self.pictures):
                rows = mine[start : start + self.pictures]
                # Without autocast and packed, as everywhere captions are made: the same words on every road.
                with torch.inference_mode():
                    memory = self.memories.load(rows, np.zeros(len(rows), dtype=bool))
                    features = model.encode(memory.to(self.compute.device))
                    found = search(decoder, features, options, specials, attention=attention)
                hypotheses += [alternatives[0] for alternatives in found]
                advance(len(rows), "")
        hypotheses = self.processes.gather_in_order(hypotheses)
        texts = [self.tokenizer.decode(hypothesis.ids) for hypothesis in hypotheses]
        keys = [self.prepared.key(int(row)) for row in self.rows]
        scores = self.processes.broadcast_from_rank0(
            lambda: self._scorer.score(dict(zip(keys, texts, strict=True)))
        )
        return Evaluation(self.rows.tolist(), hypotheses, texts, scores, time.monotonic() - started)


@torch.no_grad()
def validation_loss(
    model: CaptioningModel,
    batches: Batches,
    compute: DeviceConfig,
    *,
    at_once: int = 0,
    processes: DistributedContext | None = None,
) -> float:
    """Return the mean cross-entropy per token (nats) of a split under teacher forcing, without smoothing.

    Args:
        model: The captioner.
        batches: This process's share of the split.
        compute: Device and precision.
        at_once: Pictures of a batch that go through the network at once; 0: all.
        processes: Whose shares are added up.
    """
    model.eval()
    sums = torch.zeros(2, dtype=torch.float64)  # [loss, tokens]
    for batch in batches.sequential():
        for part in batch.split(at_once):
            with compute.autocast():
                loss, count = cross_entropy(model, part.to(compute.device), pad_id=batches.tokenizer.pad_id)
            sums += torch.tensor([float(loss), count])
    (processes or DistributedContext()).add([sums])
    return float(sums[0]) / max(1.0, float(sums[1]))
