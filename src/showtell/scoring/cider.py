"""CIDEr-D: how much a candidate says what the references of its picture say and those of other pictures do not.

Vedantam et al. 2015, equation 10 and section 6, as in tylin/coco-caption ``cider_scorer.py``: raw counts times
log N - log df, candidate weights clipped to the reference's, a Gaussian (sigma 6) on the difference of lengths, mean
over references and orders, times 10. As there, a length is a number of bigrams, and no stemming is done.
"""

from __future__ import annotations

import numpy as np

from showtell.scoring.ngrams import (
    NGRAM_MASK,
    Floats,
    Integers,
    NgramCounts,
    NgramIndex,
    NgramTable,
    Pairs,
    join,
    within_runs,
)

_SIGMA = 6.0


class CiderD:
    """CIDEr-D against one set of references.

    Args:
        index: The references' n-grams.
    """

    names = ("CIDEr-D",)

    def __init__(self, index: NgramIndex) -> None:
        self._index = index
        self._log_pictures = float(np.log(float(index.pictures)))
        self._log_frequency = [self._frequencies(entries) for entries in index.references.orders]
        self._weights, self._norms = self._weigh(index.references)
        self._keys: list[Integers] = []
        self._sorted: list[Integers] = []
        for entries in index.references.orders:
            keys = join(index.picture[entries.caption], entries.ngram)
            order = np.argsort(keys, kind="stable")
            self._keys.append(keys[order])
            self._sorted.append(order)

    def score(self, candidates: NgramTable) -> tuple[dict[str, float], dict[str, Floats]]:
        """Score one candidate per picture.

        Returns:
            The corpus score (0..10), and each picture's, float64 [P]; the former is the mean of the latter.
        """
        pictures = self.score_each(candidates, np.arange(self._index.pictures))
        return {"CIDEr-D": float(np.mean(pictures))}, {"CIDEr-D": pictures}

    def score_each(self, candidates: NgramTable, pictures: Integers) -> Floats:
        """Score any number of candidates, each about the picture it names.

        Args:
            candidates: N captions.
            pictures: Number of the picture that each is about, int64 [N].

        Returns:
            float64 [N], 0..10.
        """
        index = self._index
        per_candidate = index.references_per_picture[pictures]  # [N]
        pairs = Pairs(index, pictures)
        weights, norms = self._weigh(candidates)
        delta = np.maximum(candidates.lengths - 1, 0)[pairs.candidate]
        delta -= np.maximum(index.references.lengths - 1, 0)[pairs.reference]
        total = np.zeros(len(pairs.candidate))
        for order, entries in enumerate(candidates.orders):
            product = self._products(entries, weights[order], order, pictures, pairs)
            norm = norms[order][pairs.candidate] * self._norms[order][pairs.reference]
            total += np.divide(product, norm, out=product, where=norm != 0)
        total *= np.exp(-(delta.astype(np.float64) ** 2) / (2 * _SIGMA**2)) / len(candidates.orders)
        mean: Floats = np.bincount(pairs.candidate, total, len(pictures)) / per_candidate * 10.0
        return mean

    def _frequencies(self, entries: NgramCounts) -> Floats:
        """Return the logarithm of the number of pictures whose references hold each n-gram. [n-grams]"""
        seen = np.unique(join(self._index.picture[entries.caption], entries.ngram)) & NGRAM_MASK
        return np.log(np.maximum(np.bincount(seen), 1).astype(np.float64))

    def _weigh(self, table: NgramTable) -> tuple[list[Floats], list[Floats]]:
        """Return the TF-IDF weight of every entry and the Euclidean norm of every caption, for each order."""
        weights, norms = [], []
        for entries, log_frequency in zip(table.orders, self._log_frequency, strict=True):
            rarity = np.full(len(entries.ngram), self._log_pictures)
            known = entries.ngram < len(log_frequency)
            rarity[known] -= log_frequency[entries.ngram[known]]
            weight = entries.count * rarity
            weights.append(weight)
            norms.append(np.sqrt(np.bincount(entries.caption, weight**2, len(table.lengths))))
        return weights, norms

    def _products(
        self, entries: NgramCounts, weight: Floats, order: int, pictures: Integers, pairs: Pairs
    ) -> Floats:
        """Return the clipped dot product of every candidate with each reference of its picture. [pairs]"""
        wanted = join(pictures[entries.caption], entries.ngram)
        first = np.searchsorted(self._keys[order], wanted, side="left")
        number = np.searchsorted(self._keys[order], wanted, side="right") - first
        ours = np.repeat(np.arange(len(wanted)), number)
        theirs = self._sorted[order][np.repeat(first, number) + within_runs(number)]
        reference_weight = self._weights[order][theirs]
        product = np.minimum(weight[ours], reference_weight) * reference_weight
        place = pairs.place(entries.caption[ours], self._index.references.orders[order].caption[theirs])
        return np.bincount(place, product, len(pairs.candidate)).astype(np.float64)
