"""Rewards are the report's own scores, of any number of samples about any picture."""

from __future__ import annotations

import numpy as np
import pytest

from showtell.scoring.bleu import Bleu
from showtell.scoring.cider import CiderD
from showtell.scoring.ngrams import NgramIndex
from showtell.scoring.reward import Rewards

EOS = 2


def make(seed: int, pictures: int = 12) -> tuple[list[list[list[int]]], list[list[int]]]:
    draw = np.random.default_rng(seed)

    def caption() -> list[int]:
        return [*draw.integers(3, 9, draw.integers(1, 8)).tolist(), EOS]

    references = [[caption() for _ in range(draw.integers(1, 6))] for _ in range(pictures)]
    return references, [caption() for _ in range(pictures)]


@pytest.mark.parametrize("seed", range(5))
def test_one_sample_per_picture_scores_as_in_a_report(seed: int) -> None:
    references, candidates = make(seed)
    index = NgramIndex(references)
    table = index.count(candidates)
    pictures = np.arange(len(candidates))
    np.testing.assert_allclose(
        Rewards(references)(candidates, pictures), CiderD(index).score(table)[1]["CIDEr-D"]
    )
    np.testing.assert_allclose(
        Rewards(references, cider=0.0, bleu=1.0)(candidates, pictures), Bleu(index).score(table)[1]["BLEU-4"]
    )


def test_a_sample_scores_the_same_in_every_batch_and_order() -> None:
    references, candidates = make(7)
    rewards = Rewards(references, cider=1.0, bleu=0.5)
    pictures = np.array([3, 3, 0, 11, 3, 5])
    together = rewards(candidates[:6], pictures)
    alone = [rewards([sample], pictures[[at]])[0] for at, sample in enumerate(candidates[:6])]
    np.testing.assert_allclose(together, alone)
    order = np.array([5, 0, 4, 1, 3, 2])
    np.testing.assert_allclose(rewards([candidates[at] for at in order], pictures[order]), together[order])


def test_weights_add_up() -> None:
    references, candidates = make(3)
    pictures = np.arange(len(candidates))
    both = Rewards(references, cider=2.0, bleu=3.0)(candidates, pictures)
    cider = Rewards(references)(candidates, pictures)
    bleu = Rewards(references, cider=0.0, bleu=1.0)(candidates, pictures)
    np.testing.assert_allclose(both, 2.0 * cider + 3.0 * bleu)


def test_how_a_sentence_ends_is_rewarded() -> None:
    references = [[[5, 6, 7, EOS]], [[5, 8, 4, EOS]], [[6, 3, 8, EOS]]]
    whole, cut = Rewards(references)([[5, 6, 7, EOS], [5, 6, 7]], np.array([0, 0]))
    assert whole == pytest.approx(10.0)
    assert cut < whole


def test_a_sample_gets_nothing_for_the_words_of_another_picture() -> None:
    references = [[[5, 6, 7, EOS]], [[8, 9, 4, EOS]], [[3, 3, 3, EOS]]]
    rewards = Rewards(references)([[8, 9, 4], [8, 9, 4]], np.array([1, 0]))
    assert rewards[0] > 1.0
    assert rewards[1] == 0.0


def test_an_empty_sample_is_worth_nothing() -> None:
    references = [[[5, 6, 7, EOS]], [[8, 9, 4, EOS]]]
    assert Rewards(references, bleu=1.0)([[], [5, 6, 7, EOS]], np.array([0, 0]))[0] == pytest.approx(
        0.0, abs=1e-6
    )
