"""Every decoder of the registry, as a graph: the same numbers and words for any number of anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from showtell.config.generation import DecodingOptions
from showtell.decoders.base import reorder_hypotheses
from showtell.encoders.features import Features
from showtell.errors import ExportError
from showtell.export.graphs import write_decoder
from showtell.export.state_axes import describe_state
from showtell.generation import SpecialTokens, search
from showtell.inference.onnx_backend import ArrayFeatures
from showtell.inference.onnx_files import INIT, STEP

SPECIALS = SpecialTokens(0, 1, 2, 3)
TOLERANCE = 1e-4


def make_features(pictures: int, regions: int, width: int, seed: int = 0) -> tuple[Features, ArrayFeatures]:
    """The same features for torch and for an export; a region of each picture but the first is not real."""
    generator = np.random.default_rng(seed)
    seen = generator.random((pictures, regions, width), np.float32)
    mask = np.ones((pictures, regions), bool)
    if regions > 1:
        mask[1:, -1] = False
    pooled = seen.mean(axis=1)
    ours = Features(*(torch.from_numpy(part) for part in (seen, pooled, mask)))
    return ours, ArrayFeatures(seen, pooled, mask)


@settings(max_examples=15)
@given(
    pictures=st.integers(1, 7),
    hypotheses=st.integers(1, 4),
    regions=st.integers(1, 6),
    seed=st.integers(0, 1000),
)
def test_logits_and_attention_agree_for_any_pictures_hypotheses_and_regions(
    pair: Any, pictures: int, hypotheses: int, regions: int, seed: int
) -> None:
    ours, theirs = make_features(pictures, regions, pair.width, seed)
    generator = np.random.default_rng(seed)
    state, other = pair.torch.init_state(ours, hypotheses), pair.exported.init_state(theirs, hypotheses)
    with torch.inference_mode():
        for _ in range(3):
            tokens = generator.integers(1, 11, (pictures, hypotheses))
            logits, state, looks = pair.torch.step(torch.from_numpy(tokens), state)
            others, other, other_looks = pair.exported.step(tokens, other)
            np.testing.assert_allclose(others, logits.numpy(), atol=TOLERANCE, rtol=0)
            assert (looks is None) == (other_looks is None)
            if looks is not None and other_looks is not None:
                np.testing.assert_allclose(other_looks, looks.numpy(), atol=TOLERANCE, rtol=0)
            parents = generator.integers(0, hypotheses, (pictures, hypotheses + 1))
            hypotheses += 1
            state, other = state.reorder(torch.from_numpy(parents)), other.reorder(parents)
            kept = np.arange(0, pictures, 2)
            if len(kept) < pictures:
                state, other, pictures = state.filter(torch.from_numpy(kept)), other.filter(kept), len(kept)


@pytest.mark.parametrize("pictures", [1, 2, 7])
@pytest.mark.parametrize(
    "options",
    [{"method": "greedy"}, {"beam_size": 3}, {"method": "sample", "samples": 3, "seed": 5}],
    ids=["greedy", "beam", "sample"],
)
def test_an_export_says_the_same_tokens(pair: Any, pictures: int, options: dict[str, Any]) -> None:
    check_tokens(pair, pictures, DecodingOptions(max_tokens=6, **options))


def check_tokens(pair: Any, pictures: int, options: DecodingOptions) -> None:
    ours, theirs = make_features(pictures, 5, pair.width)
    with torch.inference_mode():
        expected = search(pair.torch, ours, options, SPECIALS, attention=True)
    found = search(pair.exported, theirs, options, SPECIALS, attention=True)
    assert [[one.ids for one in some] for some in found] == [[one.ids for one in some] for some in expected]
    for one, other in zip(chain(*found), chain(*expected), strict=True):
        assert one.score == pytest.approx(other.score, abs=TOLERANCE)
        assert (one.attention is None) == (other.attention is None)
        if one.attention is not None and other.attention is not None:
            np.testing.assert_allclose(one.attention, other.attention, atol=TOLERANCE)


def test_what_no_step_changes_goes_into_no_output_and_is_never_copied(pair: Any) -> None:
    _, features = make_features(2, 4, pair.width)
    state = pair.exported.init_state(features, 1)
    _, after, _ = pair.exported.step(np.ones((2, 1), np.int64), state)
    constant = [one.name for one in pair.state if one.constant]
    assert all(after.arrays[name] is state.arrays[name] for name in constant)
    wide = after.reorder(np.zeros((2, 3), np.int64))
    assert all(wide.arrays[name] is state.arrays[name] for name in constant)
    outputs = pair.exported._step.outputs
    assert not any(f"next_{name}" in outputs for name in constant)
    # Regions are the wide part, and no decoder writes them anew.
    assert all(one.constant for one in pair.state if "regions" in one.axes)


@dataclass(frozen=True)
class RecallState:
    """All words so far, float [P, K, T, E], and the picture, float [P, E]."""

    words: Tensor
    picture: Tensor

    def reorder(self, parents: Tensor) -> Self:
        return replace(self, words=reorder_hypotheses(self.words, parents))

    def filter(self, pictures: Tensor) -> Self:
        return type(self)(self.words[pictures], self.picture[pictures])


class RecallDecoder(nn.Module):
    """Attends to all words so far, as a Transformer does: a state that grows by a word a step."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.picture = nn.Embedding(11, 8), nn.Linear(8, 8)
        self.output = nn.Linear(16, 11)

    def init_state(self, features: Features, hypotheses: int) -> RecallState:
        words = features.pooled.new_zeros(features.pooled.shape[0], hypotheses, 0, 8)
        return RecallState(words, self.picture(features.pooled))

    def step(self, tokens: Tensor, state: RecallState) -> tuple[Tensor, RecallState, None]:
        word = self.words(tokens).unsqueeze(2)  # [P, K, 1, E]
        words = torch.cat((state.words, word), dim=2)
        found = (word @ words.transpose(2, 3)).softmax(3) @ words  # [P, K, 1, E]
        picture = state.picture.unsqueeze(1).expand(-1, tokens.shape[1], -1)
        logits = self.output(torch.cat((found.squeeze(2), picture), dim=-1))
        return logits, replace(state, words=words), None


@pytest.mark.thorough
def test_a_state_that_grows_by_a_word_a_step_is_exported_too(
    export_decoder: Callable[[Any, int, Path], Any], tmp_path: Path
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        grown = export_decoder(RecallDecoder().eval(), 8, tmp_path)
    assert grown.state[0].axes == ("images", "hypotheses", "length", 8)
    assert [one.constant for one in grown.state] == [False, True]
    for pictures in (1, 3):
        check_tokens(grown, pictures, DecodingOptions(max_tokens=6, beam_size=4))


@dataclass(frozen=True)
class OddState:
    """A state that is not what the protocol says."""

    hidden: Any

    def reorder(self, parents: Tensor) -> OddState:
        return OddState(reorder_hypotheses(self.hidden, parents).flip(1))

    def filter(self, pictures: Tensor) -> OddState:
        return OddState(self.hidden[pictures])


class OddDecoder(nn.Module):
    def __init__(self, hidden: Any) -> None:
        super().__init__()
        self.hidden = hidden

    def init_state(self, features: Features, hypotheses: int) -> OddState:
        return OddState(self.hidden(features.pooled.shape[0], hypotheses))

    def step(self, tokens: Tensor, state: OddState) -> tuple[Tensor, OddState, None]:
        return torch.zeros(*tokens.shape, 11), state, None


@pytest.mark.parametrize(
    ("hidden", "words"),
    [
        (lambda pictures, hypotheses: 3, r"found hidden \(int\); expected a dataclass of tensors"),
        (lambda pictures, hypotheses: torch.zeros(pictures * hypotheses, 2), "axis 0 changes from 6 to 8"),
        (
            lambda pictures, hypotheses: torch.zeros(hypotheses, pictures),
            "axis 1 changes from 3 to 4 with one more",
        ),
        (torch.rand, "reorder or filter do more than gather"),
    ],
    ids=["no tensor", "axes mixed", "axes swapped", "reorder does more"],
)
def test_a_state_that_is_no_dataclass_of_led_tensors_is_refused_by_name(hidden: Any, words: str) -> None:
    with pytest.raises(ExportError, match=f"the state of OddDecoder cannot be exported: .*{words}"):
        describe_state(OddDecoder(hidden), 8)


class FixedDecoder(RecallDecoder):
    def init_state(self, features: Features, hypotheses: int) -> RecallState:
        if bool(features.pooled.sum() > 1e9):
            raise ValueError
        return super().init_state(features, hypotheses)


def test_a_decoder_that_looks_at_its_numbers_cannot_be_exported_and_is_told_so(tmp_path: Path) -> None:
    decoder = FixedDecoder().eval()
    with pytest.raises(ExportError, match=r"init\.onnx cannot be written: found .*data-dependent"):
        write_decoder(decoder, 8, describe_state(decoder, 8), tmp_path)
    assert not (tmp_path / INIT).exists()
    assert not (tmp_path / STEP).exists()
