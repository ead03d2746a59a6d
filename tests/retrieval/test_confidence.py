"""Confidence: the same in any batch, higher with more evidence, and none without a calibration."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.retrieval.test_rerank import POOLED, TOKENIZER, datastore

from showtell.config.confidence import Calibration, CaptionWeights, ConfidenceWeights, WordWeights
from showtell.generation import Hypothesis
from showtell.retrieval.confidence import EvidenceSource, add_confidence, at_least_half, logit

STORE = datastore(
    [["a dog runs", "dog on grass"], ["a cat sits"], ["a dog sits on snow"], ["a cat on grass"]] * 3
)
WEIGHTS = ConfidenceWeights(
    words=WordWeights(
        bias=1.0, weights={"log_prob": 0.2, "neighbours": 0.5, "neighbour_captions": 0.3, "distance": -0.1}
    ),
    caption=CaptionWeights(bias=0.0, weights={"words": 0.8, "consensus": 0.3}),
)
ALONE = ConfidenceWeights(
    words=WordWeights(bias=1.0, weights={"log_prob": 0.5}),
    caption=CaptionWeights(bias=0.0, weights={"words": 0.8, "log_prob": 1.0}),
)
probabilities = st.floats(0, 1)


def hypothesis(text: str, log_prob: float = -1.0) -> Hypothesis:
    ids = TOKENIZER.encode(text)
    return Hypothesis(ids, -1.0, log_prob * len(ids), [log_prob] * len(ids), False, None)


def confidences(
    pooled: Any, hypotheses: Sequence[Hypothesis], weights: ConfidenceWeights = WEIGHTS
) -> list[Any]:
    source = EvidenceSource(TOKENIZER, STORE if weights is WEIGHTS else None)
    return [
        add_confidence(each, evidence, weights).confidence
        for each, evidence in zip(hypotheses, source(pooled, hypotheses), strict=True)
    ]


@given(st.lists(probabilities, min_size=1, max_size=7))
def test_at_least_half_is_a_sum_over_all_outcomes(each: list[float]) -> None:
    expected = sum(
        np.prod([p if happens else 1 - p for p, happens in zip(each, outcome, strict=True)])
        for outcome in itertools.product([False, True], repeat=len(each))
        if 2 * sum(outcome) >= len(each)
    )
    assert at_least_half(np.array(each)) == pytest.approx(expected, abs=1e-12)


@given(st.lists(probabilities, min_size=1, max_size=7), st.integers(0, 6), probabilities)
def test_more_probable_words_never_make_a_caption_less_probable(
    each: list[float], place: int, other: float
) -> None:
    raised = np.array(each)
    raised[place % len(each)] = max(other, raised[place % len(each)])
    assert at_least_half(raised) >= at_least_half(np.array(each)) - 1e-12


@given(probabilities)
def test_logits_are_finite_and_rise(probability: float) -> None:
    assert -5 < logit(0.0) <= logit(probability) <= logit(1.0) < 5


@pytest.mark.parametrize("weights", [WEIGHTS, ALONE])
def test_other_images_of_a_batch_change_nothing(weights: ConfidenceWeights) -> None:
    captions = [hypothesis("a dog runs on grass"), hypothesis("a cat"), hypothesis("snow", -3.0)]
    together = confidences(POOLED[:3], captions, weights)
    for place, caption in enumerate(captions):
        assert confidences(POOLED[place : place + 1], [caption], weights) == [together[place]]
    assert confidences(POOLED[2::-1], captions[::-1], weights) == together[::-1]


@pytest.mark.parametrize("weights", [WEIGHTS, ALONE])
@given(lower=st.floats(-15, 0), higher=st.floats(-15, 0))
def test_confidence_rises_with_the_log_probability(
    weights: ConfidenceWeights, lower: float, higher: float
) -> None:
    lower, higher = sorted((lower, higher))
    (low,), (high,) = (
        confidences(POOLED[:1], [hypothesis("a dog runs", each)], weights) for each in (lower, higher)
    )
    assert low.caption <= high.caption
    assert all(one <= other for one, other in zip(low.words, high.words, strict=True))


def test_a_word_of_the_neighbours_captions_is_surer_than_one_that_none_has() -> None:
    (found,) = confidences(POOLED[:1], [hypothesis("dog snow runs")])
    (other,) = confidences(POOLED[:1], [hypothesis("dog dog dog")])
    assert len(found.words) == 3
    assert other.words[0] == other.words[1] == found.words[0]
    assert found.words[0] > found.words[1]
    assert 0 < found.caption < other.caption < 1


def test_an_image_unlike_those_of_the_datastore_lowers_it() -> None:
    far = POOLED[:1] + 100 * np.eye(6, dtype=np.float32)[:1]
    store = STORE.projection
    assert store.outside(POOLED).max() < 1e-3 * POOLED.var() * 6  # these twelve define the components
    narrow = type(store)(store.mean, store.components[:, :2])
    assert narrow.outside(far)[0] > narrow.outside(POOLED[:1])[0] > 0


def test_a_caption_without_words_has_none() -> None:
    assert confidences(POOLED[:1], [hypothesis("")]) == [None]


def test_words_that_only_join_others_count_where_there_are_no_others() -> None:
    source = EvidenceSource(TOKENIZER, STORE)
    plain, joining = source(POOLED[:2], [hypothesis("a dog on grass"), hypothesis("on a")])
    assert plain.has_meaning.tolist() == [False, True, False, True]
    assert joining.has_meaning.tolist() == [True, True]


def test_weights_without_a_datastore_are_those_of_retrieval_off() -> None:
    calibration = Calibration(rerank=None, off=ALONE)
    assert calibration.weights("off") == ALONE
    assert calibration.weights("rerank") is None
