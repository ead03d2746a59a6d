"""Evaluation of a captioner: its loss under teacher forcing, and the scores of the captions it generates."""

import time
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.config.generation import DecodingOptions
from showtell.config.preprocessing import Preprocessing
from showtell.data.batches import Batches, FeatureSource
from showtell.data.prepared import PreparedSet
from showtell.data.views import ImageSource
from showtell.generation import Hypothesis, sampling_keys
from showtell.inference.onednn_decoder import packed_decoder
from showtell.metrics import Scorer, Scores
from showtell.metrics.meteor import MeteorScorer
from showtell.metrics.score_tokenizers import resolve_tokenizer
from showtell.retrieval.datastore import Datastore
from showtell.retrieval.search import CaptionSearch
from showtell.system.console import progress_bar
from showtell.tokenizer import Tokenizer
from showtell.training.device import DeviceConfig
from showtell.training.distributed import SINGLE_PROCESS, DistributedContext
from showtell.training.objectives.losses import cross_entropy


@dataclass(frozen=True)
class Evaluation:
    """The captions of a split and their scores."""

    rows: list[int]  # of the prepared set, in the split's order
    hypotheses: list[Hypothesis]  # the best one of each image
    texts: list[str]
    scores: Scores
    seconds: float  # time of encoding, decoding and scoring


@dataclass(frozen=True)
class Evaluator:
    """Captions images and scores the captions; tokenizes the references once."""

    prepared: PreparedSet
    rows: np.ndarray  # the images, int64 [N]
    source: FeatureSource
    tokenizer: Tokenizer
    compute: DeviceConfig
    batch_size: int = 64  # images decoded per batch
    processes: DistributedContext = SINGLE_PROCESS  # share the images; the main process has the references
    meteor: MeteorScorer | None = None  # computes METEOR in addition to the other scores
    score_tokenizer: str = "auto"  # of `Scorer`; auto: by the references' script
    preprocessing: Preprocessing | None = None  # of the pixels that key samples; None: features key them
    datastore: Datastore | None = None  # for retrieval

    def __post_init__(self) -> None:
        """Raise the errors of references and score tokenizer now, before the run's directory is touched."""
        self.processes.run_on_rank0(lambda: self._scorer and None)

    @cached_property
    def _scorer(self) -> Scorer:
        references = {self.prepared.key(int(row)): self.prepared.captions(int(row)) for row in self.rows}
        captions = (caption for several in references.values() for caption in several)
        tokenizer = resolve_tokenizer(self.score_tokenizer, captions)
        return Scorer(references, meteor=self.meteor, tokenizer=tokenizer)

    def evaluate(
        self, model: CaptioningModel, options: DecodingOptions, *, attention: bool = False
    ) -> Evaluation:
        """Caption all images and score the captions."""
        started = time.monotonic()
        model.eval()
        search = CaptionSearch(self.tokenizer, self.datastore)
        decoder = packed_decoder(model.decoder)
        hypotheses: list[Hypothesis] = []
        own_rows = self.processes.shard(self.rows)
        with progress_bar("caption", len(own_rows), unit="images") as advance:
            for start in range(0, len(own_rows), self.batch_size):
                rows = own_rows[start : start + self.batch_size]
                # No autocast and a packed decoder, as in inference: both give the same captions.
                with torch.inference_mode():
                    inputs = self.source.load(rows, np.zeros(len(rows), dtype=bool))
                    features = model.encode(inputs.to(self.compute.device))
                    noise_keys = self._sampling_keys(rows, options)
                    results = search(decoder, features, options, attention=attention, keys=noise_keys)
                hypotheses += [alternatives[0] for alternatives in results]
                advance(len(rows), "")
        hypotheses = self.processes.gather_in_order(hypotheses)
        texts = [self.tokenizer.decode(hypothesis.ids) for hypothesis in hypotheses]
        keys = [self.prepared.key(int(row)) for row in self.rows]
        scores = self.processes.run_on_rank0(lambda: self._scorer.score(dict(zip(keys, texts, strict=True))))
        return Evaluation(self.rows.tolist(), hypotheses, texts, scores, time.monotonic() - started)

    def _sampling_keys(self, rows: np.ndarray, options: DecodingOptions) -> list[int] | None:
        """Return the keys that captioning has: cached features differ from those of an export."""
        if self.preprocessing is None or options.method != "sample":
            return None
        images = ImageSource(self.prepared, self.preprocessing)
        return sampling_keys(images.load(rows, np.zeros(len(rows), dtype=bool)).numpy(), options)

    @torch.no_grad()
    def loss(self, model: CaptioningModel, batches: Batches, micro_batch_size: int) -> float:
        """Return the mean cross-entropy per token (nats) under teacher forcing, without smoothing.

        ``batches`` are those of this process, in parts of ``micro_batch_size`` images; 0: whole.
        """
        model.eval()
        sums = torch.zeros(2, dtype=torch.float64)  # [loss, tokens]
        for batch in batches.sequential():
            for part in batch.split(micro_batch_size):
                with self.compute.autocast():
                    loss, num_tokens = cross_entropy(model, part.to(self.compute.device))
                sums += torch.tensor([float(loss), num_tokens])
        self.processes.all_reduce([sums])
        return float(sums[0]) / max(1.0, float(sums[1]))
