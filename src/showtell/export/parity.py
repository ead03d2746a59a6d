"""Compares an export with its checkpoint: captions and numbers of the same images.

Torch runs in float32 for this: on processors with bfloat16 the encoder uses that by default, and then also differs
from itself in float32. If two tokens or captions are equally likely to within `TIE`, either may win; such images are
counted apart from real differences.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from showtell.checkpoints.checkpoint import Checkpoint
from showtell.config.generation import override
from showtell.encoders.features import Features
from showtell.export.samples import Samples
from showtell.generation import Hypothesis
from showtell.inference.onnx_backend import ArrayFeatures, OnnxBackend
from showtell.inference.onnx_config import ParityReport
from showtell.retrieval.search import CaptionSearch

TIE = 1e-4
"""Log-probabilities closer than this are a tie, in nats."""

MAX_LOGIT_DIFFERENCE = 1e-3
"""In float32: well above rounding (3e-5 with a ResNet-50), far below a change of tokens that are not tied."""

BATCH_SIZE = 16
MAX_DIFFERENCES = 5


@dataclass
class ParityCheck:
    """The result of a comparison."""

    report: ParityReport
    ties: int = 0  # images whose captions differ only by a tie
    differences: list[str] = field(default_factory=list)  # one line for each other caption that differs

    def first_differences(self) -> list[str]:
        """Return some of the differences, and the number of the others."""
        shown = self.differences[:MAX_DIFFERENCES]
        if len(self.differences) > MAX_DIFFERENCES:
            shown.append(f"and {len(self.differences) - MAX_DIFFERENCES} more")
        return shown


def compare(loaded: Checkpoint, exported: OnnxBackend, samples: Samples) -> ParityCheck:
    """Caption images with a checkpoint (float32, on the CPU) and with its export, by greedy and by beam search."""
    beam_size = loaded.generation.beam_size
    methods = {
        "greedy": override(loaded.generation, method="greedy"),
        "beam": override(loaded.generation, method="beam", beam_size=beam_size),
    }
    search = CaptionSearch(loaded.tokenizer, loaded.datastore)
    largest = {"features": 0.0, "logits": 0.0}
    equal = dict.fromkeys(methods, 0)
    ties, differences, count = 0, [], len(samples.images)
    for start in range(0, count, BATCH_SIZE):
        images = samples.images[start : start + BATCH_SIZE]
        with torch.inference_mode():
            features: Features = loaded.encoder(torch.from_numpy(images))
        others = exported.encode(images)
        largest["features"] = max(largest["features"], _difference(features.regions, others.regions))
        for method, options in methods.items():
            with torch.inference_mode():
                ours = _best(search(loaded.model.decoder, features, options))
            theirs = _best(search(exported.decoder, others, options))
            if method == "greedy":
                logits = _logit_difference(loaded, exported, features, others, ours)
                largest["logits"] = max(largest["logits"], logits)
            names = samples.names[start : start + BATCH_SIZE]
            for name, our, their in zip(names, ours, theirs, strict=True):
                if our.ids == their.ids:
                    equal[method] += 1
                elif _is_tie(method, our, their):
                    ties += 1
                else:
                    first, second = (loaded.tokenizer.decode(caption.ids) for caption in (our, their))
                    differences.append(f"{name} ({method}): '{first}' with torch, '{second}' with the export")
    report = ParityReport(
        num_images=count,
        synthetic=samples.synthetic,
        greedy=equal["greedy"] / count,
        beam=equal["beam"] / count,
        beam_size=beam_size,
        **largest,
    )
    return ParityCheck(report, ties, differences)


def _best(found: list[list[Hypothesis]]) -> list[Hypothesis]:
    return [hypotheses[0] for hypotheses in found]


def _logit_difference(
    loaded: Checkpoint,
    exported: OnnxBackend,
    features: Features,
    others: ArrayFeatures,
    captions: Sequence[Hypothesis],
) -> float:
    """Return the largest difference of logits while both read the same captions."""
    bos, eos = loaded.tokenizer.bos_id, loaded.tokenizer.eos_id
    length = max(len(caption.ids) for caption in captions)
    # Steps after the end of a shorter caption are compared too: both must agree on any input.
    tokens = np.array([[bos, *caption.ids, *[eos] * (length - len(caption.ids))] for caption in captions])
    largest = 0.0
    with torch.inference_mode():
        decoder: Any = loaded.model.decoder
        state, other_state = decoder.init_state(features, 1), exported.decoder.init_state(others, 1)
        for column in tokens.T:
            token: Any = np.ascontiguousarray(column[:, None])  # [P, 1]
            logits, state, _ = decoder.step(torch.from_numpy(token), state)
            other_logits, other_state, _ = exported.decoder.step(token, other_state)
            largest = max(largest, _difference(logits, other_logits))
    return largest


def _difference(ours: torch.Tensor, theirs: npt.NDArray[np.float32]) -> float:
    return float(np.abs(ours.numpy() - theirs).max())


def _is_tie(method: str, ours: Hypothesis, theirs: Hypothesis) -> bool:
    """Return whether two captions differ by a tie: at the first different token (greedy), or as a whole (beam)."""
    if method == "beam":
        return abs(ours.score - theirs.score) <= TIE
    shorter = min(len(ours.ids), len(theirs.ids))
    index = next((index for index in range(shorter) if ours.ids[index] != theirs.ids[index]), shorter)
    return abs(_log_prob_at(ours, index) - _log_prob_at(theirs, index)) <= TIE


def _log_prob_at(caption: Hypothesis, index: int) -> float:
    if index < len(caption.token_log_probs):
        return caption.token_log_probs[index]
    return caption.log_prob - sum(caption.token_log_probs)  # of its end
