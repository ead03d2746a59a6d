"""The probe ranks features by what they tell of words, and refuses what it cannot evaluate."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.feature_probe import average_precision, count_words, evaluate

from benchmarks import feature_probe
from showtell.data.prepared import PreparedSet


def test_average_precision_counts_the_right_among_the_first() -> None:
    scores = np.array([[0.9, 0.1, 0.5], [0.8, 0.2, 0.5], [0.1, 0.9, 0.5]], np.float32)
    there = np.array([[True, True, False], [False, False, False], [True, True, False]])
    found = average_precision(scores, there)
    assert found[:2].tolist() == pytest.approx([(1 / 1 + 2 / 3) / 2, (1 / 1 + 2 / 3) / 2])
    assert np.isnan(found[2])


def test_features_that_hold_the_words_tell_more_than_features_of_chance() -> None:
    generator = np.random.default_rng(0)
    named = (generator.random((300, 3)) < 0.3).astype(np.float32)
    words = ["dog", "red", "runs"]

    def kernel(vectors: np.ndarray) -> np.ndarray:
        vectors = vectors - vectors.mean(axis=0)
        product = vectors @ vectors.T
        return (product / np.trace(product) * len(product)).astype(np.float32)

    told = evaluate(kernel(named + 0.1 * generator.normal(size=named.shape)), named, 200, words)
    chance = evaluate(kernel(generator.normal(size=(300, 50))), named, 200, words)
    assert told[0] > 0.9
    assert chance[0] < 0.1
    assert min(told[1:]) > 0.95
    assert max(chance[1:]) < 0.6


@pytest.mark.thorough
def test_words_are_counted_by_the_captions_that_name_them(
    toy_set: PreparedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_probe, "MIN_IMAGES", 1)
    train, dev = toy_set.split_rows("train"), toy_set.split_rows("dev")
    words, named = count_words(toy_set, train, np.concatenate((train, dev)))
    assert named.shape == (len(train) + len(dev), len(words))
    row, captions = named[0], [caption.lower().split() for caption in toy_set.captions(int(train[0]))]
    for word, share in zip(words, row.tolist(), strict=True):
        assert share == pytest.approx(sum(word in caption for caption in captions) / len(captions))
    assert row.max() > 0
