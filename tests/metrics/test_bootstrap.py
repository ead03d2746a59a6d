"""The paired bootstrap: differences are those of the scores, intervals those of other photographs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from showtell.errors import ScoreError
from showtell.metrics import Scorer
from showtell.metrics.blocks import SegmentStats
from showtell.metrics.bootstrap import paired_bootstrap

WORDS = ["a", "dog", "cat", "runs", "on", "the", "red", "grass", "bus", "man", "sits", "here"]


def corpus(pictures: int) -> tuple[dict[str, list[str]], dict[str, str], dict[str, str]]:
    """Return references, good captions, and ones half of which are worse."""
    generator = np.random.default_rng(3)
    references = {
        f"{place}": [" ".join(generator.choice(WORDS, 8)) for _ in range(3)] for place in range(pictures)
    }
    good = {key: texts[0].rsplit(" ", 1)[0] for key, texts in references.items()}
    worse = {key: text if int(key) % 2 else " ".join(text.split()[::-1]) for key, text in good.items()}
    return references, good, worse


@pytest.fixture(scope="module")
def judged() -> tuple[Scorer, dict[str, str], dict[str, str]]:
    references, good, worse = corpus(60)
    return Scorer(references), good, worse


def test_a_tally_adds_up_to_the_scores(judged: tuple[Scorer, dict[str, str], dict[str, str]]) -> None:
    scorer, good, worse = judged
    found = paired_bootstrap([scorer.segment_stats(good)], [scorer.segment_stats(worse)], draws=10)
    one, other = scorer.score(good).values, scorer.score(worse).values
    for name, difference in found.items():
        assert difference.value == pytest.approx(one[name] - other[name], abs=1e-12)
    assert list(found) == list(one)


def test_wins_losses_and_ties_count_images_by_their_own_scores(
    judged: tuple[Scorer, dict[str, str], dict[str, str]],
) -> None:
    scorer, good, worse = judged
    ours, theirs, found = scorer.compare(good, worse)
    for name, difference in found.items():
        gains = [ours.per_image[key][name] - theirs.per_image[key][name] for key in good]
        assert difference.wins == sum(gain > 1e-9 for gain in gains)
        assert difference.losses == sum(gain < -1e-9 for gain in gains)
        assert difference.wins + difference.losses + difference.ties == len(good)
    assert found["BLEU-1"].ties == len(good)  # the same words in another order
    assert found["CIDEr-D"].ties >= len(good) / 2
    assert (ours, theirs) == (scorer.score(good), scorer.score(worse))


def test_sets_with_captions_of_other_images_are_not_compared(
    judged: tuple[Scorer, dict[str, str], dict[str, str]],
) -> None:
    scorer, good, worse = judged
    some = {key: text for key, text in worse.items() if key != "7"}
    with pytest.raises(ScoreError, match=r"cannot be compared: found 1 without one in the second \(7\)"):
        scorer.compare(good, some, subset=True)
    with pytest.raises(ScoreError, match=r"1 without one in the first \(7\)"):
        scorer.compare(some, good, subset=True)
    assert scorer.compare(some, some, subset=True)[0].num_images == len(some)


@pytest.mark.thorough
@pytest.mark.parametrize("num_better", [24, 30, 40])
def test_a_paired_bootstrap_agrees_with_sacrebleu(num_better: int) -> None:
    """The same corpus BLEU, and interval and p-value within what two samples of 2,000 draws allow.

    sacreBLEU's p-value is that of one side (of the absolute differences, less their mean): half of ours, unless the
    draws are often on both sides of 0.
    """
    significance = pytest.importorskip("sacrebleu.significance", reason="needs the extra languages")
    bleu = pytest.importorskip("sacrebleu.metrics.bleu").BLEU
    references, good, _ = corpus(60)
    keys, generator = list(references), np.random.default_rng(5)
    shuffled = {key: " ".join(generator.permutation(text.split())) for key, text in good.items()}
    better = dict(zip(keys, generator.permutation(np.arange(60) < num_better), strict=True))
    some = {key: (good if better[key] else shuffled)[key] for key in keys}
    other = {key: (shuffled if better[key] else good)[key] for key in keys}
    ours, theirs, found = Scorer(references, tokenizer="none").compare(some, other)
    streams = [[references[key][number] for key in keys] for number in range(3)]
    metric = bleu(tokenize="none", smooth_method="none", references=streams)
    systems = [(name, [texts[key] for key in keys]) for name, texts in (("theirs", other), ("ours", some))]
    test = significance.PairedTest(systems, {"BLEU": metric}, references=None, test_type="bs", n_samples=2000)
    base, one = test()[1]["BLEU"]
    assert 100 * theirs.values["BLEU-4"] == pytest.approx(base.score, abs=1e-6)
    assert 100 * ours.values["BLEU-4"] == pytest.approx(one.score, abs=1e-6)
    delta = found["BLEU-4"]
    if delta.p_value < 0.2:
        expected = one.p_value
        deviation = math.sqrt(expected * (1 - expected) / 2000 + delta.p_value / 4 / 2000)
        assert delta.p_value / 2 == pytest.approx(expected, abs=4 * deviation + 1 / 2000)
    # The interval of the difference, of draws from its statistics by its own scores.
    stats = [np.array(metric._extract_corpus_statistics(texts, None)) for _, texts in systems]
    differences = [
        metric._compute_score_from_stats(stats[1][rows].sum(0)).score
        - metric._compute_score_from_stats(stats[0][rows].sum(0)).score
        for rows in generator.integers(0, 60, (2000, 60))
    ]
    half = (delta.high - delta.low) / 2
    low, high = np.percentile(differences, [2.5, 97.5]) / 100
    assert (delta.low, delta.high) == (
        pytest.approx(low, abs=0.2 * half),
        pytest.approx(high, abs=0.2 * half),
    )


def test_a_captioner_never_differs_from_itself(
    judged: tuple[Scorer, dict[str, str], dict[str, str]],
) -> None:
    scorer, good, _ = judged
    tally = scorer.segment_stats(good)
    for difference in paired_bootstrap([tally], [tally]).values():
        assert (difference.value, difference.low, difference.high, difference.p_value) == (0, 0, 0, 1)


def test_several_seeds_count_with_their_mean(
    judged: tuple[Scorer, dict[str, str], dict[str, str]],
) -> None:
    scorer, good, worse = judged
    one, other = scorer.segment_stats(good), scorer.segment_stats(worse)
    both = paired_bootstrap([one, other], [other], draws=300)
    whole = paired_bootstrap([one], [other], draws=300)
    for name in both:
        assert both[name].value == pytest.approx(whole[name].value / 2)
        assert both[name].high == pytest.approx(whole[name].high / 2)


def stats(cider: np.ndarray) -> SegmentStats:
    """Statistics with these scores of images, and no n-grams."""
    return {"cider": cider, "bleu": np.zeros((10, len(cider)), np.int64)}


@pytest.mark.thorough
@pytest.mark.parametrize("mean", [0.0, -0.07, 0.1, 1.0])
def test_the_p_value_of_a_mean_is_the_known_one(mean: float) -> None:
    """That of a two-sided z-test."""
    pictures = 400
    gain = np.random.default_rng(0).normal(0, 1, pictures)
    gain = (gain - gain.mean()) / gain.std() + mean
    found = paired_bootstrap([stats(gain)], [stats(np.zeros(pictures))])["CIDEr-D"]
    assert found.p_value == pytest.approx(math.erfc(abs(mean) * math.sqrt(pictures / 2)), abs=0.034)
    other = paired_bootstrap([stats(np.zeros(pictures))], [stats(gain)])["CIDEr-D"]
    assert other.p_value == found.p_value
    assert 1 / 2001 <= found.p_value <= 1


@pytest.mark.thorough
def test_captioners_that_do_not_differ_are_rarely_significant() -> None:
    generator = np.random.default_rng(1)
    p_values = []
    for _ in range(300):
        one, two = (stats(generator.exponential(size=200)) for _ in range(2))
        p_values.append(paired_bootstrap([one], [two], draws=200)["CIDEr-D"].p_value)
    # Of 300 uniform ones, with three standard deviations.
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.038)
    assert np.mean(np.array(p_values) < 0.5) == pytest.approx(0.5, abs=0.087)


@pytest.mark.thorough
def test_p_values_are_those_of_scores_of_drawn_images(
    judged: tuple[Scorer, dict[str, str], dict[str, str]],
) -> None:
    """BLEU-4 of each draw, scored as a set of its own."""
    references, good, _ = corpus(60)
    other = {key: references[key][1] if int(key) % 3 else text for key, text in good.items()}
    some = {key: text if int(key) % 2 else other[key] for key, text in good.items()}
    scorer, draws = judged[0], 150
    found = paired_bootstrap([scorer.segment_stats(some)], [scorer.segment_stats(other)], draws=draws)[
        "BLEU-4"
    ]
    drawn = np.random.default_rng(0).multinomial(60, np.full(60, 1 / 60), draws)
    deltas = []
    for counts in drawn:
        keys = [(str(key), copy) for key in range(60) for copy in range(counts[key])]
        again = Scorer({f"{key}-{copy}": references[key] for key, copy in keys}, metrics=["bleu"])
        scores = [
            again.score({f"{key}-{copy}": texts[key] for key, copy in keys}).values["BLEU-4"]
            for texts in (some, other)
        ]
        deltas.append(scores[0] - scores[1])
    moved = np.abs(np.array(deltas) - np.mean(deltas))
    assert found.p_value == pytest.approx(((moved >= abs(found.value)).sum() + 1) / (draws + 1))


def test_the_interval_of_a_mean_is_the_known_one() -> None:
    generator = np.random.default_rng(0)
    pictures = 400
    gain = generator.normal(0.5, 1.0, pictures)
    found = paired_bootstrap([stats(gain)], [stats(np.zeros(pictures))])["CIDEr-D"]
    half = 1.96 * gain.std(ddof=1) / np.sqrt(pictures)
    assert found.value == pytest.approx(gain.mean())
    # 2,000 draws: each end is uncertain by about 5 % of the half width.
    assert found.low == pytest.approx(gain.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(gain.mean() + half, abs=0.15 * half)


def test_the_same_seed_draws_the_same(judged: tuple[Scorer, dict[str, str], dict[str, str]]) -> None:
    scorer, good, worse = judged
    tallies = [scorer.segment_stats(good)], [scorer.segment_stats(worse)]
    assert paired_bootstrap(*tallies, draws=250) == paired_bootstrap(*tallies, draws=250)
    assert paired_bootstrap(*tallies, draws=250) != paired_bootstrap(*tallies, draws=250, seed=1)
