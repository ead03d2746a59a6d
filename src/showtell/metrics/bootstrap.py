"""Confidence intervals and p-values of a difference of scores: a paired bootstrap over images.

Each draw takes as many images as there are, with repetition, the same for both captioners (Koehn 2004, "Statistical
Significance Tests for Machine Translation Evaluation", section 4, paired). Document frequencies of CIDEr-D are those
of the whole set. A captioner of several seeds counts with the mean of its seeds' scores; neither interval nor p-value
covers how seeds differ.

The p-value is two-sided: how often the draws, moved to a mean of 0, differ from it by as much as the captioners do
(Riezler and Maxwell 2005, "On Some Pitfalls in Automatic Evaluation and Significance Testing for MT"; so does
sacreBLEU). The difference itself counts as a draw, so it is never 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from showtell.metrics.bleu import bleu_scores
from showtell.metrics.blocks import SegmentStats
from showtell.metrics.ngrams import Floats

DRAWS, LEVEL = 2_000, 0.95
_DRAWS_AT_ONCE, _CELLS = 200, 4_000_000


@dataclass(frozen=True)
class ScoreDelta:
    """A difference of corpus scores, the interval that holds 95 % of the draws, and its two-sided p-value."""

    value: float
    low: float
    high: float
    p_value: float  # 1 / (draws + 1) to 1


def paired_bootstrap(
    ours: Sequence[SegmentStats], theirs: Sequence[SegmentStats], *, draws: int = DRAWS, seed: int = 0
) -> dict[str, ScoreDelta]:
    """Return our CIDEr-D and BLEU-4 less theirs, on coco-caption's scale, with their intervals and p-values.

    Both have the statistics of each of their seeds, on the same images in the same order; ``seed`` is that of the
    draws.
    """
    num_images = len(ours[0]["cider"])
    generator = np.random.default_rng(seed)
    columns = []
    # Batches of draws that fit into memory; the draws do not depend on their size.
    at_once = max(1, min(_DRAWS_AT_ONCE, _CELLS // num_images))
    for start in range(0, draws, at_once):
        size = min(at_once, draws - start)
        # Floats, whose products are fast; the counts stay whole.
        drawn = generator.multinomial(num_images, np.full(num_images, 1 / num_images), size).astype(float)
        columns.append(_scores(ours, drawn) - _scores(theirs, drawn))
    whole = np.ones((1, num_images))
    values = (_scores(ours, whole) - _scores(theirs, whole))[:, 0]
    tail = 100 * (1 - LEVEL) / 2
    drawn_values = np.concatenate(columns, axis=1)  # [2, draws]
    low, high = np.percentile(drawn_values, [tail, 100 - tail], axis=1)
    moved = np.abs(drawn_values - drawn_values.mean(axis=1, keepdims=True))
    p_values = ((moved >= np.abs(values)[:, None]).sum(axis=1) + 1) / (draws + 1)
    deltas = zip(values.tolist(), low.tolist(), high.tolist(), p_values.tolist(), strict=True)
    return {name: ScoreDelta(*delta) for name, delta in zip(("CIDEr-D", "BLEU-4"), deltas, strict=True)}


def _scores(seeds: Sequence[SegmentStats], drawn: Floats) -> Floats:
    """Return the mean over seeds of CIDEr-D and BLEU-4 of each draw: [draws, P] -> [2, draws]."""
    scores = np.zeros((2, len(drawn)))
    for stats in seeds:
        scores[0] += drawn @ stats["cider"] / drawn.shape[1]
        scores[1] += bleu_scores(stats["bleu"].astype(float) @ drawn.T)[-1]
    mean: Floats = scores / len(seeds)
    return mean
