"""BLEU-1 to BLEU-4 with the conventions of coco-caption: corpus statistics, closest reference length.

Papineni et al. 2002, as in tylin/coco-caption ``bleu_scorer.py``. Instead of smoothing, two small constants keep the
divisions defined, so a corpus score is the plain one while a single picture without a common 4-gram is almost zero.
"""

from __future__ import annotations

import math

import numpy as np

from showtell.scoring.ngrams import ORDERS, Floats, Integers, NgramIndex, NgramTable, Pairs, join

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
        everyone = np.arange(self._index.pictures)
        correct, guess, closest = self.count(candidates, everyone)
        corpus = bleu_of(
            correct.sum(1, keepdims=True),
            guess.sum(1, keepdims=True),
            candidates.lengths.sum(keepdims=True),
            closest.sum(keepdims=True),
        )
        pictures = bleu_of(correct, guess, candidates.lengths, closest)
        return (
            {name: float(corpus[order, 0]) for order, name in enumerate(self.names)},
            {name: pictures[order] for order, name in enumerate(self.names)},
        )

    def count(self, candidates: NgramTable, pictures: Integers) -> tuple[Integers, Integers, Integers]:
        """Count what BLEU is made of, for any number of candidates, each about the picture it names.

        Args:
            candidates: N captions.
            pictures: Number of the picture that each is about, int64 [N].

        Returns:
            Right n-grams int64 [4, N], each counted at most as often as one reference has it; all n-grams [4, N];
            the length of the nearest reference [N].
        """
        correct = np.stack([self._matches(candidates, order, pictures) for order in range(ORDERS)])
        guess = np.maximum(candidates.lengths[None] - np.arange(ORDERS)[:, None], 0)
        return correct, guess, self._closest_lengths(candidates.lengths, pictures)

    def _matches(self, candidates: NgramTable, order: int, pictures: Integers) -> Integers:
        """Count a candidate's n-grams that a reference has, each at most as often as one reference has it. [N]"""
        entries, keys = candidates.orders[order], self._keys[order]
        if not len(keys):
            return np.zeros(len(pictures), dtype=np.int64)
        wanted = join(pictures[entries.caption], entries.ngram)
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        clipped = np.where(keys[place] == wanted, np.minimum(entries.count, self._most[order][place]), 0)
        return np.bincount(entries.caption, clipped, len(pictures)).astype(np.int64)

    def _closest_lengths(self, lengths: Integers, pictures: Integers) -> Integers:
        """Return for each candidate the reference length nearest to its own, the shorter one of two. [N]"""
        pairs = Pairs(self._index, pictures)
        references = self._index.references.lengths[pairs.reference]
        distance = np.abs(references - lengths[pairs.candidate])
        nearest: Integers = references[np.lexsort((references, distance, pairs.candidate))][pairs.first]
        return nearest


def bleu_of(
    correct: Integers | Floats,
    guess: Integers | Floats,
    length: Integers | Floats,
    reference: Integers | Floats,
) -> Floats:
    """Return cumulative BLEU of orders 1 to 4 for columns of counts: [4, X], [4, X], [X], [X] -> [4, X].

    Args:
        correct: Right n-grams, see `Bleu.count`.
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
