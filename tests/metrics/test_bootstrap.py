"""The paired bootstrap: differences are those of the scores, intervals those of other photographs."""

from __future__ import annotations

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
        assert (difference.value, difference.low, difference.high) == (0, 0, 0)


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


def test_the_interval_of_a_mean_is_the_known_one() -> None:
    generator = np.random.default_rng(0)
    pictures = 400
    nothing = np.zeros((10, pictures), np.int64)
    gain = generator.normal(0.5, 1.0, pictures)

    def stats(cider: np.ndarray) -> SegmentStats:
        return {"cider": cider, "bleu": nothing}

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
