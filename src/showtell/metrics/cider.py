"""CIDEr-D: TF-IDF-weighted n-grams that a candidate shares with the references of its image.

Vedantam et al. 2015, equation 10 and section 6, as in tylin/coco-caption ``cider_scorer.py``: raw counts times
log N - log df, candidate weights clipped to the reference's, a Gaussian (sigma 6) on the difference of lengths, mean
over references and orders, times 10. As there, a length is a number of bigrams, and no stemming is done.
"""

from collections.abc import Sequence

import numpy as np

from showtell.metrics.ngrams import CandRefPairs, Floats, Integers, NgramIndex, NgramTable, ragged_arange

SIGMA = 6.0


class TfIdf:
    """Weights n-grams by count and rarity, given the number of images that hold each n-gram of each order."""

    def __init__(self, frequencies: Sequence[Integers], num_images: int) -> None:
        self._log_num_images = float(np.log(float(num_images)))
        self.rarities: list[Floats] = [
            self._log_num_images - np.log(np.maximum(holding, 1).astype(np.float64))
            for holding in frequencies
        ]  # inverse document frequency of each n-gram, for each order

    def weigh(self, table: NgramTable) -> tuple[list[Floats], list[Floats]]:
        """Return the TF-IDF weight of every entry and the Euclidean norm of every caption, for each order."""
        weights, norms = [], []
        for entries, known_rarity in zip(table.orders, self.rarities, strict=True):
            rarity = np.full(len(entries.ngram), self._log_num_images)
            known = entries.ngram < len(known_rarity)
            rarity[known] = known_rarity[entries.ngram[known]]
            weight = entries.count * rarity
            weights.append(weight)
            norms.append(np.sqrt(np.bincount(entries.caption, weight**2, len(table.lengths))))
        return weights, norms


class CiderD:
    """CIDEr-D against one set of references.

    If these are a part of a larger set, ``num_images`` counts its images, and ``frequencies`` has for each order the
    number of its images that hold each n-gram, int64 [n-grams]; n-grams without a number are in none.
    """

    def __init__(
        self, index: NgramIndex, *, num_images: int = 0, frequencies: Sequence[Integers] = ()
    ) -> None:
        self._index = index
        self._tf_idf = TfIdf(frequencies or index.frequencies(), num_images or index.num_images)
        self._weights, self._norms = self._tf_idf.weigh(index.references)

    def score_each(self, candidates: NgramTable, images: Integers) -> Floats:
        """Return the score, float64 [N], 0..10, of N candidates of the images with these numbers, int64 [N]."""
        index = self._index
        per_candidate = index.references_per_image[images]  # [N]
        pairs = CandRefPairs(index, images)
        weights, norms = self._tf_idf.weigh(candidates)
        delta = np.maximum(candidates.lengths - 1, 0)[pairs.candidate]
        delta -= np.maximum(index.references.lengths - 1, 0)[pairs.reference]
        total = np.zeros(len(pairs.candidate))
        for order in range(len(candidates.orders)):
            product = self._products(candidates, weights[order], order, images, pairs)
            norm = norms[order][pairs.candidate] * self._norms[order][pairs.reference]
            total += np.divide(product, norm, out=product, where=norm != 0)
        total *= np.exp(-(delta.astype(np.float64) ** 2) / (2 * SIGMA**2)) / len(candidates.orders)
        mean: Floats = np.bincount(pairs.candidate, total, len(images)) / per_candidate * 10.0
        return mean

    def _products(
        self, candidates: NgramTable, weight: Floats, order: int, images: Integers, pairs: CandRefPairs
    ) -> Floats:
        """Return the clipped dot product of every candidate with each reference of its image. [pairs]"""
        found, group = self._index.find(candidates, order, images)
        groups = self._index.groups[order]
        # An n-gram of a candidate meets that of each reference that has it.
        num_references = groups.size[group]
        ours = np.repeat(found, num_references)
        theirs = np.repeat(groups.start[group], num_references) + ragged_arange(num_references)
        reference_weight = self._weights[order][theirs]
        product = np.minimum(weight[ours], reference_weight) * reference_weight
        captions = (
            candidates.orders[order].caption[ours],
            self._index.references.orders[order].caption[theirs],
        )
        return np.bincount(pairs.place(*captions), product, len(pairs.candidate)).astype(np.float64)
