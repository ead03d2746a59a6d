"""How sure a difference is: the same photographs drawn again, for both captioners alike.

Each draw takes as many pictures as there are, with repetition; the difference of the two corpus scores over many
draws spreads as it would over other photographs (Koehn 2004, "Statistical Significance Tests for Machine Translation
Evaluation", section 4, paired). Document frequencies of CIDEr-D stay those of the whole set. A captioner of several
seeds counts with the mean of its seeds' scores; how seeds differ is not in the interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from showtell.metrics.bleu import bleu_of
from showtell.metrics.blocks import BlockScores
from showtell.metrics.ngrams import Floats, Integers

DRAWS, LEVEL = 2_000, 0.95
_AT_ONCE, _CELLS = 200, 4_000_000


@dataclass(frozen=True)
class SegmentStats:
    """What the scores of one captioner are made of, picture by picture.

    Attributes:
        cider: CIDEr-D of each picture, float64 [P].
        correct: Right n-grams of each order, int64 [4, P].
        guess: All n-grams, int64 [4, P].
        length: Words, int64 [P].
        reference: Words of the nearest reference, int64 [P].
    """

    cider: Floats
    correct: Integers
    guess: Integers
    length: Integers
    reference: Integers

    @classmethod
    def of(cls, scores: Iterable[BlockScores]) -> SegmentStats:
        """Put the blocks of a set together, in which BLEU and CIDEr-D were computed."""
        rows = [(block.cider, *vars(block.bleu).values()) for block in scores]
        return cls(*(np.concatenate(columns, axis=-1) for columns in zip(*rows, strict=True)))


@dataclass(frozen=True)
class ScoreDelta:
    """A difference of corpus scores, and the interval that holds 95 % of the draws."""

    value: float
    low: float
    high: float


def paired_bootstrap(
    ours: Sequence[SegmentStats], theirs: Sequence[SegmentStats], *, draws: int = DRAWS, seed: int = 0
) -> dict[str, ScoreDelta]:
    """Return by how much we are better than they are in CIDEr-D and BLEU-4, on coco-caption's scale.

    Args:
        ours: Of each seed, on the same pictures in the same order.
        theirs: The same of whom we are compared with.
        draws: How many.
        seed: Of the draws.
    """
    pictures = len(ours[0].cider)
    generator = np.random.default_rng(seed)
    columns = []
    # As many draws at once as the pictures leave memory for; the draws are the same.
    at_once = max(1, min(_AT_ONCE, _CELLS // pictures))
    for start in range(0, draws, at_once):
        many = min(at_once, draws - start)
        # As floats, for whose products there is fast code; the counts stay whole.
        drawn = generator.multinomial(pictures, np.full(pictures, 1 / pictures), size=many).astype(float)
        columns.append(_scores(ours, drawn) - _scores(theirs, drawn))
    whole = np.ones((1, pictures))
    found = (_scores(ours, whole) - _scores(theirs, whole))[:, 0]
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(np.concatenate(columns, axis=1), [tail, 100 - tail], axis=1)
    return {
        name: ScoreDelta(float(found[place]), float(low[place]), float(high[place]))
        for place, name in enumerate(("CIDEr-D", "BLEU-4"))
    }


def _scores(tallies: Sequence[SegmentStats], drawn: Floats) -> Floats:
    """Return the mean over seeds of CIDEr-D and BLEU-4 of each draw: [draws, P] -> [2, draws]."""
    scores = np.zeros((2, len(drawn)))
    for tally in tallies:
        scores[0] += drawn @ tally.cider / drawn.shape[1]
        parts = (tally.correct, tally.guess, tally.length, tally.reference)
        counts = [values.astype(float) @ drawn.T for values in parts]
        scores[1] += bleu_of(*counts)[-1]
    mean: Floats = scores / len(tallies)
    return mean
