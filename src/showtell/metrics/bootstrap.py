"""Confidence intervals and p-values of differences of scores: a paired bootstrap over images.

Each draw takes as many images as there are, with repetition, the same for both captioners (Koehn 2004, "Statistical
Significance Tests for Machine Translation Evaluation", section 4, paired). Document frequencies of CIDEr-D are those
of the whole set. A captioner of several seeds counts with the mean of its seeds' scores; neither interval nor p-value
covers how seeds differ.

The p-value is two-sided: how often the draws, moved to a mean of 0, differ from it by as much as the captioners do.
The difference itself counts as a draw, so it is never 0. sacreBLEU's is that of Riezler and Maxwell (2005, "On Some
Pitfalls in Automatic Evaluation and Significance Testing for MT"): how often the absolute difference of a draw is
above their mean by as much. For a clear difference that is one side, half of the p-value here; for equal captioners
it is about 0.4, not 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from showtell.metrics.bleu import NAMES, bleu_scores
from showtell.metrics.blocks import MEAN_SCORES, SegmentStats
from showtell.metrics.meteor import NAME, meteor_scores
from showtell.metrics.ngrams import Floats

DRAWS, LEVEL = 2_000, 0.95
EQUAL = 1e-9
"""Scores of an image that differ by less are a tie: equal captions may differ in the last bit."""
_DRAWS_AT_ONCE, _CELLS = 200, 4_000_000


@dataclass(frozen=True)
class ScoreDelta:
    """A difference of corpus scores, the interval that holds 95 % of the draws, and its two-sided p-value.

    Wins, losses and ties count the images whose own score is higher, lower and equal.
    """

    value: float
    low: float
    high: float
    p_value: float  # 1 / (draws + 1) to 1
    wins: int
    losses: int
    ties: int

    @property
    def significance(self) -> str:
        """The p-value as text."""
        return "p < 0.001" if self.p_value < 0.001 else f"p = {self.p_value:.3f}"

    @property
    def interval(self) -> str:
        """Difference and interval times 100, as text."""
        return f"{100 * self.value:+.2f} [{100 * self.low:+.2f}, {100 * self.high:+.2f}]"


def paired_bootstrap(
    ours: Sequence[SegmentStats], theirs: Sequence[SegmentStats], *, draws: int = DRAWS, seed: int = 0
) -> dict[str, ScoreDelta]:
    """Return our scores less theirs by metric, on coco-caption's scale, with their intervals and p-values.

    Both have the statistics of each of their seeds, on the same images in the same order; ``seed`` is that of the
    draws.
    """
    num_images = next(iter(ours[0].values())).shape[-1]
    generator = np.random.default_rng(seed)
    differences = []
    # Batches of draws that fit into memory; the draws do not depend on their size.
    at_once = max(1, min(_DRAWS_AT_ONCE, _CELLS // num_images))
    for start in range(0, draws, at_once):
        size = min(at_once, draws - start)
        # Floats, whose products are fast; the counts stay whole.
        drawn = generator.multinomial(num_images, np.full(num_images, 1 / num_images), size).astype(float)
        differences.append(_difference(ours, theirs, drawn))
    values = _difference(ours, theirs, np.ones((1, num_images)))[:, 0]
    tail = 100 * (1 - LEVEL) / 2
    drawn_values = np.concatenate(differences, axis=1)  # [metrics, draws]
    low, high = np.percentile(drawn_values, [tail, 100 - tail], axis=1)
    moved = np.abs(drawn_values - drawn_values.mean(axis=1, keepdims=True))
    p_values = ((moved >= np.abs(values)[:, None]).sum(axis=1) + 1) / (draws + 1)
    gains = _difference(ours, theirs, None)  # [metrics, P]
    wins, losses = (gains > EQUAL).sum(axis=1), (gains < -EQUAL).sum(axis=1)
    columns = [values, low, high, p_values, wins, losses, num_images - wins - losses]
    deltas = zip(*(column.tolist() for column in columns), strict=True)
    return {name: ScoreDelta(*delta) for name, delta in zip(_scores(ours[0], None), deltas, strict=True)}


def _difference(ours: Sequence[SegmentStats], theirs: Sequence[SegmentStats], drawn: Floats | None) -> Floats:
    """Return the difference of the means over seeds: [draws, P] -> [metrics, draws]; None: of each image."""
    one, other = (
        np.mean([[*_scores(stats, drawn).values()] for stats in seeds], axis=0) for seeds in (ours, theirs)
    )
    difference: Floats = one - other
    return difference


def _scores(stats: SegmentStats, drawn: Floats | None) -> dict[str, Floats]:
    """Return the scores of each draw by metric: [draws, P] -> [draws]; None: those of each image, [P]."""
    sums = {
        name: counts if drawn is None else counts.astype(float) @ drawn.T for name, counts in stats.items()
    }
    scores: dict[str, Floats] = {}
    if "bleu" in sums:
        scores |= zip(NAMES, bleu_scores(sums["bleu"]), strict=True)
    if "meteor" in sums:
        scores[NAME] = meteor_scores(sums["meteor"])
    for metric, name in MEAN_SCORES.items():
        if metric in sums:
            scores[name] = sums[metric] if drawn is None else sums[metric] / drawn.shape[1]
    return scores
