"""Evaluation of a captioner: its loss under teacher forcing, and the scores of the captions it generates."""

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
from showtell.training.objectives.losses import cross_entropy


@dataclass(frozen=True)
class Evaluation:
    """The captions of a split and their scores.

    Attributes:
        rows: Rows of the prepared set, in the split's order.
        hypotheses: The best hypothesis of each image.
        texts: Their text.
        scores: Of the whole split and of each image.
        seconds: Time of encoding, decoding and scoring.
    """

    rows: list[int]
    hypotheses: list[Hypothesis]
    texts: list[str]
    scores: Scores
    seconds: float


class Evaluator:
    """Captions a split and scores the captions; tokenizes the references once.

    Args:
        prepared: The captioned set.
        split: The split to caption.
        source: Provides the encoder inputs of its images.
        tokenizer: The captioner's.
        compute: Device and precision.
        batch_size: Images decoded per batch.
        rows: Images of the split to use, int64 [N]; None: all.
        processes: Share the images; the main process has the references.
        meteor: Computes METEOR in addition to the other scores.
    """

    def __init__(
        self,
        prepared: PreparedSet,
        split: str,
        source: FeatureSource,
        tokenizer: Tokenizer,
        compute: DeviceConfig,
        *,
        batch_size: int = 64,
        rows: np.ndarray | None = None,
        processes: DistributedContext | None = None,
        meteor: MeteorScorer | None = None,
    ) -> None:
        self.prepared, self.source, self.tokenizer = prepared, source, tokenizer
        self.compute, self.batch_size, self._meteor = compute, batch_size, meteor
        self.rows = prepared.split_rows(split) if rows is None else rows
        self.processes = processes or DistributedContext()
        # Images without references are an error: raise it before the run's directory is touched.
        self.processes.broadcast_from_rank0(lambda: self._scorer and None)

    @cached_property
    def _scorer(self) -> Scorer:
        references = {self.prepared.key(int(row)): self.prepared.captions(int(row)) for row in self.rows}
        return Scorer(references, meteor=self._meteor)

    def evaluate(
        self, model: CaptioningModel, options: DecodingOptions, *, attention: bool = False
    ) -> Evaluation:
        """Caption the whole split and score the captions."""
        started = time.monotonic()
        model.eval()
        specials = SpecialTokens.of(self.tokenizer)
        decoder = packed_decoder(model.decoder)
        hypotheses: list[Hypothesis] = []
        own_rows = self.processes.shard(self.rows)
        with progress("caption", len(own_rows), unit="images") as advance:
            for start in range(0, len(own_rows), self.batch_size):
                rows = own_rows[start : start + self.batch_size]
                # No autocast and a packed decoder, as in inference: both give the same captions.
                with torch.inference_mode():
                    inputs = self.source.load(rows, np.zeros(len(rows), dtype=bool))
                    features = model.encode(inputs.to(self.compute.device))
                    results = search(decoder, features, options, specials, attention=attention)
                hypotheses += [alternatives[0] for alternatives in results]
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
    micro_batch_size: int = 0,
    processes: DistributedContext | None = None,
) -> float:
    """Return the mean cross-entropy per token (nats) of a split under teacher forcing, without smoothing.

    Args:
        model: The captioner.
        batches: This process's batches of the split.
        compute: Device and precision.
        micro_batch_size: Images per forward pass; 0: the whole batch.
        processes: Processes whose losses are summed.
    """
    model.eval()
    sums = torch.zeros(2, dtype=torch.float64)  # [loss, tokens]
    for batch in batches.sequential():
        for part in batch.split(micro_batch_size):
            with compute.autocast():
                loss, num_tokens = cross_entropy(
                    model, part.to(compute.device), pad_id=batches.tokenizer.pad_id
                )
            sums += torch.tensor([float(loss), num_tokens])
    (processes or DistributedContext()).all_reduce([sums])
    return float(sums[0]) / max(1.0, float(sums[1]))
