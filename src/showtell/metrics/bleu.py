"""BLEU-1 to BLEU-4 with the conventions of coco-caption: corpus statistics, closest reference length.

Papineni et al. 2002, as in tylin/coco-caption ``bleu_scorer.py``. Instead of smoothing, two small constants keep the
divisions defined, so a corpus score is the plain one while a single image without a common 4-gram is almost zero.
"""

import math
from dataclasses import dataclass

import numpy as np

from showtell.metrics.ngrams import (
    NGRAM_MASK,
    ORDERS,
    CandRefPairs,
    Floats,
    Integers,
    NgramIndex,
    NgramTable,
    join,
)

_SMALL = 1e-9
_TINY = 1e-15


NAMES = tuple(f"BLEU-{order}" for order in range(1, ORDERS + 1))


@dataclass(frozen=True)
class BleuCounts:
    """The counts that BLEU is computed from, for N captions.

    Attributes:
        correct: Right n-grams of each order, each counted at most as often as one reference has it. int64 [4, N]
        guess: All n-grams. int64 [4, N]
        length: Words. int64 [N]
        reference: Words of the nearest reference. int64 [N]
    """

    correct: Integers
    guess: Integers
    length: Integers
    reference: Integers

    def total(self) -> "BleuCounts":
        """Return the sums over all captions, as one."""
        columns = (self.correct, self.guess, self.length, self.reference)
        return BleuCounts(*(column.sum(axis=-1, keepdims=True) for column in columns))

    def __add__(self, others: "BleuCounts") -> "BleuCounts":
        return BleuCounts(
            self.correct + others.correct,
            self.guess + others.guess,
            self.length + others.length,
            self.reference + others.reference,
        )

    def scores(self) -> Floats:
        """Return BLEU-1 to BLEU-4 of each caption, 0..1, float64 [4, N]; their mean is not that of the corpus."""
        return bleu_of(self.correct, self.guess, self.length, self.reference)


class Bleu:
    """BLEU against one set of references.

    Args:
        index: The references' n-grams.
    """

    def __init__(self, index: NgramIndex) -> None:
        self._index = index
        self._most = [
            np.maximum.reduceat(entries.count, groups.start) if len(groups.start) else groups.start
            for entries, groups in zip(index.references.orders, index.groups, strict=True)
        ]

    def count(self, candidates: NgramTable, images: Integers) -> BleuCounts:
        """Count the matches of any number of candidates.

        Args:
            candidates: N captions.
            images: Number of the image of each candidate, int64 [N].
        """
        correct = np.stack([self._matches(candidates, order, images) for order in range(ORDERS)])
        guess = np.maximum(candidates.lengths[None] - np.arange(ORDERS)[:, None], 0)
        nearest = self._nearest_lengths(candidates.lengths, images)
        return BleuCounts(correct, guess, candidates.lengths, nearest)

    def _matches(self, candidates: NgramTable, order: int, images: Integers) -> Integers:
        """Return the clipped matches of each candidate. [N]"""
        entries = candidates.orders[order]
        ours, group = self._index.find(candidates, order, images)
        clipped = np.minimum(entries.count[ours], self._most[order][group])
        return np.bincount(entries.caption[ours], clipped, len(images)).astype(np.int64)

    def _nearest_lengths(self, lengths: Integers, images: Integers) -> Integers:
        """Return for each candidate the reference length nearest to its own, the shorter one of two. [N]"""
        pairs = CandRefPairs(self._index, images)
        references = self._index.references.lengths[pairs.reference]
        distance = np.abs(references - lengths[pairs.candidate])
        if not len(pairs.first):
            return lengths
        return np.minimum.reduceat(join(distance, references), pairs.first) & NGRAM_MASK


def bleu_of(
    correct: Integers | Floats,
    guess: Integers | Floats,
    length: Integers | Floats,
    reference: Integers | Floats,
) -> Floats:
    """Return cumulative BLEU of orders 1 to 4 for columns of counts: [4, X], [4, X], [X], [X] -> [4, X].

    Args:
        correct: Right n-grams, see `BleuCounts`.
        guess: All n-grams.
        length: Words.
        reference: Words of the nearest references.
    """
    precision = (correct + _TINY) / (guess + _SMALL)
    roots = np.array([1.0 / order for order in range(1, ORDERS + 1)])[:, None]
    ratio = (length + _TINY) / (reference + _SMALL)
    penalty = np.array([math.exp(1 - 1 / value) if value < 1 else 1.0 for value in ratio.tolist()])
    result: Floats = np.cumprod(precision, axis=0) ** roots * penalty
    return result
