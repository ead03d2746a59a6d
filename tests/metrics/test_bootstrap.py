"""The paired bootstrap: differences are those of the scores, intervals those of other photographs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from showtell.errors import ConfigError
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
    assert list(found) == ["CIDEr-D", "BLEU-4"]


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


def test_captioners_that_do_not_differ_are_rarely_significant() -> None:
    generator = np.random.default_rng(1)
    p_values = []
    for _ in range(300):
        one, two = (stats(generator.exponential(size=200)) for _ in range(2))
        p_values.append(paired_bootstrap([one], [two], draws=200)["CIDEr-D"].p_value)
    # Of 300 uniform ones, with three standard deviations.
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.038)
    assert np.mean(np.array(p_values) < 0.5) == pytest.approx(0.5, abs=0.087)


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


def test_a_tally_needs_bleu_and_cider(judged: tuple[Scorer, dict[str, str], dict[str, str]]) -> None:
    references, good, _ = corpus(4)
    with pytest.raises(ConfigError, match=r"no segment statistics: expected .* metrics bleu and cider"):
        Scorer(references, metrics=["cider"]).segment_stats(good)
