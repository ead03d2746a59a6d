"""Rewards are the report's own scores, of any number of samples about any picture."""

from __future__ import annotations

import numpy as np
import pytest

from showtell.metrics import evaluate
from showtell.metrics.bleu import bleu_counts, bleu_scores
from showtell.metrics.ngrams import Captions, NgramIndex
from showtell.metrics.reward import Rewards

EOS = 2


def make(seed: int, pictures: int = 12) -> tuple[list[list[list[int]]], list[list[int]]]:
    draw = np.random.default_rng(seed)

    def caption() -> list[int]:
        return [*draw.integers(3, 9, draw.integers(1, 8)).tolist(), EOS]

    references = [[caption() for _ in range(draw.integers(1, 6))] for _ in range(pictures)]
    return references, [caption() for _ in range(pictures)]


def index_of(references: list[list[list[int]]]) -> NgramIndex:
    captions = Captions.of([caption for captions in references for caption in captions])
    return NgramIndex(captions, np.array([len(captions) for captions in references]))


@pytest.mark.parametrize("seed", range(5))
def test_one_sample_per_image_scores_as_in_a_report(seed: int) -> None:
    references, candidates = make(seed)
    names = [str(place) for place in range(len(candidates))]
    truth = [[" ".join(f"w{word}" for word in caption) for caption in captions] for captions in references]
    said = [" ".join(f"w{word}" for word in caption) for caption in candidates]
    report = evaluate(dict(zip(names, truth, strict=True)), dict(zip(names, said, strict=True)))
    np.testing.assert_allclose(
        Rewards(references)(candidates, np.arange(len(candidates))),
        [report.per_image[name]["CIDEr-D"] for name in names],
    )


def test_linear_bleu_ranks_changes_of_one_caption_as_the_corpus_does() -> None:
    """Replacing one caption of many that are not too short changes the corpus's BLEU-4 much as the reward says."""
    references, candidates = make(11, pictures=400)
    index, pictures = index_of(references), np.arange(400)
    # Candidates of about the precision that the reward's constants are for.
    candidates = [
        refs[0] if at % 2 else own for at, (refs, own) in enumerate(zip(references, candidates, strict=True))
    ]

    def bleu_4(captions: list[list[int]]) -> float:
        counts = bleu_counts(index, index.count(Captions.of(captions)), pictures)
        return float(bleu_scores(counts.sum(axis=1, keepdims=True))[3, 0])

    before = bleu_4(candidates)
    rewards = Rewards(references, cider=0.0, bleu=1.0)
    changes, differences = [], []
    long_enough = [at for at in range(0, 120, 2) if len(candidates[at]) >= min(map(len, references[at]))]
    assert len(long_enough) > 30
    for at in long_enough:
        changed = [*candidates[:at], references[at][0], *candidates[at + 1 :]]
        changes.append(bleu_4(changed) - before)
        own, other = rewards([candidates[at], references[at][0]], pictures[[at, at]])
        differences.append(other - own)
    assert np.corrcoef(changes, differences)[0, 1] > 0.7


def test_linear_bleu_counts_words_right_ngrams_and_what_is_missing() -> None:
    rewards = Rewards([[[5, 6, 7, EOS], [5, 6, 7, 8, 4, EOS]], [[8, 4, EOS]]], cider=0.0, bleu=1.0)
    nothing, half, short = rewards([[9, 9, 9, 9], [5, 6, 9, 9], [5, 6]], np.array([0, 0, 0]))
    two_right = (2 / (4 * 0.6) + 1 / (4 * 0.6 * 0.475)) / 10
    assert nothing == pytest.approx(-0.4)
    assert half == pytest.approx(two_right - 0.4)
    assert short == pytest.approx(two_right - 0.2 + (1 - 4 / 2))


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
    assert Rewards(references)([[], [5, 6, 7, EOS]], np.array([0, 0]))[0] == 0.0
