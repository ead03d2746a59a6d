"""Does an export say what the checkpoint says? The same pictures through both, words and numbers compared.

Torch runs in float32 for this: on processors with bfloat16 a captioner looks in that, and then differs from itself in
float32 as well. Where two words or two captions are as likely to within `TIE`, either may win; such pictures are told
apart from those that differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from showtell.checkpoints.checkpoint import Checkpoint
from showtell.config.generation import DecodingOptions, override
from showtell.encoders.features import Features
from showtell.generation import Hypothesis, SpecialTokens, search
from showtell.inference.onnx_backend import ArrayFeatures, OnnxBackend
from showtell.inference.onnx_config import ParityReport

TIE = 1e-4
"""Log-probabilities nearer than this are a tie, in nats."""

LARGEST_DIFFERENCE = 1e-3
"""Of logits in float32: well above rounding (3e-5 with a ResNet-50), far below what changes a word that is no tie."""


@dataclass
class ParityCheck:
    """What came of a comparison.

    Attributes:
        agreement: Its numbers.
        ties: Pictures whose captions differ by a tie alone.
        differences: One line for each caption that differs otherwise.
    """

    agreement: ParityReport
    ties: int = 0
    differences: list[str] = field(default_factory=list)


def compare(
    loaded: Checkpoint,
    exported: OnnxBackend,
    pictures: npt.NDArray[np.uint8],
    names: Sequence[str],
    *,
    drawn: bool,
    at_once: int = 16,
) -> ParityCheck:
    """Caption pictures with torch and with an export, greedily and by beam search.

    Args:
        loaded: The checkpoint in float32, on the CPU, with its encoder.
        exported: What was made from it.
        pictures: uint8 [P, S, S, 3], at least one.
        names: What to call each.
        drawn: They are drawn scenes.
        at_once: Pictures that are looked at together.
    """
    assert loaded.model.encoder is not None
    beam_size = loaded.generation.beam_size
    ways = {
        "greedy": override(loaded.generation, method="greedy"),
        "beam": override(loaded.generation, method="beam", beam_size=beam_size),
    }
    largest = {"features": 0.0, "logits": 0.0}
    same = dict.fromkeys(ways, 0)
    ties, differences = 0, []
    for start in range(0, len(pictures), at_once):
        batch, called = pictures[start : start + at_once], names[start : start + at_once]
        with torch.inference_mode():
            features: Features = loaded.model.encoder(torch.from_numpy(batch))
        seen = exported.look(batch)
        largest["features"] = max(largest["features"], _difference(features.regions, seen.regions))
        for way, options in ways.items():
            ours, theirs = _say(loaded, features, options), _say_exported(exported, seen, options)
            if way == "greedy":
                largest["logits"] = max(largest["logits"], _logits(loaded, exported, features, seen, ours))
            for name, one, other in zip(called, ours, theirs, strict=True):
                if one.ids == other.ids:
                    same[way] += 1
                elif _is_tie(way, one, other):
                    ties += 1
                else:
                    texts = [f"'{loaded.tokenizer.decode(said.ids)}'" for said in (one, other)]
                    differences.append(f"{name} ({way}): {texts[0]} with torch, {texts[1]} with the export")
    count = len(pictures)
    agreement = ParityReport(
        pictures=count,
        drawn=drawn,
        greedy=same["greedy"] / count,
        beam=same["beam"] / count,
        beam_size=beam_size,
        logits=largest["logits"],
        features=largest["features"],
    )
    return ParityCheck(agreement, ties, differences)


def _say(loaded: Checkpoint, features: Features, options: DecodingOptions) -> list[Hypothesis]:
    with torch.inference_mode():
        found = search(loaded.model.decoder, features, options, SpecialTokens.of(loaded.tokenizer))
    return [alternatives[0] for alternatives in found]


def _say_exported(exported: OnnxBackend, seen: ArrayFeatures, options: DecodingOptions) -> list[Hypothesis]:
    found = search(exported.decoder, seen, options, SpecialTokens.of(exported.tokenizer))
    return [alternatives[0] for alternatives in found]


def _logits(
    loaded: Checkpoint,
    exported: OnnxBackend,
    features: Features,
    seen: ArrayFeatures,
    said: Sequence[Hypothesis],
) -> float:
    """Return the largest difference of logits while both read the same captions."""
    words = loaded.tokenizer
    length = max(len(one.ids) for one in said)
    # What stands after the end of a shorter caption is compared too: both must read anything alike.
    tokens = np.array([[words.bos_id, *one.ids, *[words.eos_id] * (length - len(one.ids))] for one in said])
    largest = 0.0
    with torch.inference_mode():
        decoder: Any = loaded.model.decoder
        state, other_state = decoder.init_state(features, 1), exported.decoder.init_state(seen, 1)
        for column in tokens.T:
            token: Any = np.ascontiguousarray(column[:, None])  # [P, 1]
            logits, state, _ = decoder.step(torch.from_numpy(token), state)
            others, other_state, _ = exported.decoder.step(token, other_state)
            largest = max(largest, _difference(logits, others))
    return largest


def _difference(ours: torch.Tensor, theirs: npt.NDArray[np.float32]) -> float:
    return float(np.abs(ours.numpy() - theirs).max())


def _is_tie(way: str, one: Hypothesis, other: Hypothesis) -> bool:
    """Return whether two different captions came of a tie: at the first other word (greedy), or as a whole (beam)."""
    if way == "beam":
        return abs(one.score - other.score) <= TIE
    place = next(
        (place for place, (a, b) in enumerate(zip(one.ids, other.ids, strict=False)) if a != b),
        min(len(one.ids), len(other.ids)),
    )
    return abs(_log_prob_at(one, place) - _log_prob_at(other, place)) <= TIE


def _log_prob_at(said: Hypothesis, place: int) -> float:
    if place < len(said.word_log_probs):
        return said.word_log_probs[place]
    return said.log_prob - sum(said.word_log_probs)  # of its end
