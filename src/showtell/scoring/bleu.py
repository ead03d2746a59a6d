"""BLEU-1 to BLEU-4 with the conventions of coco-caption: corpus statistics, closest reference length.

Papineni et al. 2002, as in tylin/coco-caption ``bleu_scorer.py``. Instead of smoothing, two small constants keep the
divisions defined, so a corpus score is the plain one while a single picture without a common 4-gram is almost zero.
"""

from __future__ import annotations

import math

import numpy as np

from showtell.scoring.ngrams import ORDERS, Floats, Integers, NgramIndex, NgramTable, join

_SMALL = 1e-9
_TINY = 1e-15


class Bleu:
    """BLEU against one set of references.

    Args:
        index: The references' n-grams.
    """

    names = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4")

    def __init__(self, index: NgramIndex) -> None:
        self._index = index
        self._keys: list[Integers] = []
        self._most: list[Integers] = []
        for entries in index.references.orders:
            keys = join(index.picture[entries.caption], entries.ngram)
            order = np.argsort(keys, kind="stable")
            keys, starts = np.unique(keys[order], return_index=True)
            self._keys.append(keys)
            self._most.append(np.maximum.reduceat(entries.count[order], starts) if len(starts) else starts)

    def score(self, candidates: NgramTable) -> tuple[dict[str, float], dict[str, Floats]]:
        """Score one candidate per picture.

        Returns:
            The four corpus scores (0..1), and the four scores of each picture, float64 [P]. The mean of the latter
            is not the former.
        """
        correct = np.stack([self._matches(candidates, order) for order in range(ORDERS)])  # [4, P]
        guess = np.maximum(candidates.lengths[None] - np.arange(ORDERS)[:, None], 0)  # [4, P]
        closest = self._closest_lengths(candidates.lengths)
        corpus = _bleu(
            correct.sum(1, keepdims=True),
            guess.sum(1, keepdims=True),
            candidates.lengths.sum(keepdims=True),
            closest.sum(keepdims=True),
        )
        pictures = _bleu(correct, guess, candidates.lengths, closest)
        return (
            {name: float(corpus[order, 0]) for order, name in enumerate(self.names)},
            {name: pictures[order] for order, name in enumerate(self.names)},
        )

    def _matches(self, candidates: NgramTable, order: int) -> Integers:
        """Count a candidate's n-grams that a reference has, each at most as often as one reference has it. [P]"""
        entries, keys = candidates.orders[order], self._keys[order]
        if not len(keys):
            return np.zeros(self._index.pictures, dtype=np.int64)
        wanted = join(entries.caption, entries.ngram)
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        clipped = np.where(keys[place] == wanted, np.minimum(entries.count, self._most[order][place]), 0)
        return np.bincount(entries.caption, clipped, self._index.pictures).astype(np.int64)

    def _closest_lengths(self, lengths: Integers) -> Integers:
        """Return for each candidate the reference length nearest to its own, the shorter one of two. [P]"""
        references = self._index.references.lengths
        distance = np.abs(references - lengths[self._index.picture])
        order = np.lexsort((references, distance, self._index.picture))
        firsts = np.cumsum(self._index.references_per_picture) - self._index.references_per_picture
        nearest: Integers = references[order][firsts]
        return nearest


def _bleu(correct: Integers, guess: Integers, length: Integers, reference: Integers) -> Floats:
    """Return cumulative BLEU of orders 1 to 4 for columns of statistics: [4, X], [4, X], [X], [X] -> [4, X]."""
    precision = (correct + _TINY) / (guess + _SMALL)
    roots = np.array([1.0 / order for order in range(1, ORDERS + 1)])[:, None]
    ratio = (length + _TINY) / (reference + _SMALL)
    penalty = np.array([math.exp(1 - 1 / value) if value < 1 else 1.0 for value in ratio.tolist()])
    result: Floats = np.cumprod(precision, axis=0) ** roots * penalty
    return result
