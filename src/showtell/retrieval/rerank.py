"""Reranks the captions of an image by what people wrote about similar images.

The neighbours of an image speak for a caption by CIDEr's cosine: that of its TF-IDF-weighted n-grams with each of
their captions, the mean over the orders 1 to 4 and over each neighbour's captions, weighted by their nearness.
Document frequencies are those of the datastore. (Consensus reranking: Devlin et al. 2015, "Exploring Nearest Neighbor
Approaches for Image Captioning"; Mao et al. 2015, "Learning like a Child", section 4.)
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from showtell.config.generation import DecodingOptions
from showtell.generation import Hypothesis
from showtell.generation.hypothesis import ranked
from showtell.metrics.cider import TfIdf
from showtell.metrics.ngrams import ORDERS, Captions, Integers, NgramIndex
from showtell.retrieval.datastore import Datastore
from showtell.tokenizer import Tokenizer

SHARPNESS = 8.0
"""A neighbour's weight is proportional to exp(SHARPNESS x cosine)."""
SHOWN = 5

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Neighbour:
    """An image of the datastore whose captions spoke for a caption."""

    key: str  # the image's name in its set
    similarity: float  # cosine of the images, -1..1
    fraction: float  # of the caption's similarity to the captions of all neighbours, 0..1
    captions: list[str]

    def as_json(self) -> dict[str, object]:
        """Return the values for JSON, numbers rounded to four digits."""
        return {**asdict(self), "similarity": round(self.similarity, 4), "fraction": round(self.fraction, 4)}


class Reranker:
    """Orders hypotheses by log-probability and by what the captions of similar images say."""

    def __init__(self, datastore: Datastore, tokenizer: Tokenizer) -> None:
        self.datastore, self._tokenizer = datastore, tokenizer
        captions, per_image = datastore.captions, datastore.captions.per_image.astype(np.int64)
        numbers = {word: number for number, word in enumerate(captions.words)}
        # A token that no caption has gets a number above those of the datastore.
        self._numbers = np.array([numbers.setdefault(token, len(numbers)) for token in tokenizer.tokens])
        tokens, lengths = captions.tokens.astype(np.int64), captions.lengths.astype(np.int64)
        self._index = NgramIndex(Captions(tokens, lengths), per_image)
        self._tf_idf = TfIdf(self._index.frequencies(), len(per_image))
        self._index.forget_references()

    def __call__(
        self, pooled: npt.NDArray[Any], results: Sequence[Sequence[Hypothesis]], options: DecodingOptions
    ) -> list[list[Hypothesis]]:
        """Return the hypotheses of P images with pooled features float [P, D] by their new scores, best first.

        The new score is the old one plus ``retrieval_weight`` times the similarity to the neighbours' captions, 0..1.
        The first of each image names the neighbours that contributed most.
        """
        nearest, cosines = self.datastore.nearest(pooled, options.neighbours)
        weights = np.exp(SHARPNESS * (cosines.astype(np.float64) - cosines[:, :1]))
        weights /= weights.sum(axis=1, keepdims=True)
        return [
            self._rerank(nearest[row], cosines[row], weights[row], hypotheses, options.retrieval_weight)
            for row, hypotheses in enumerate(results)
        ]

    def _rerank(
        self,
        images: Integers,
        cosines: npt.NDArray[np.float32],
        weights: Floats,
        hypotheses: Sequence[Hypothesis],
        factor: float,
    ) -> list[Hypothesis]:
        """Return the hypotheses of one image, given its neighbours, [K] each, by their new scores."""
        contributions = self._contributions(images, weights, hypotheses)  # [K, H]
        similarity = contributions.sum(axis=0)
        scored = [
            replace(hypothesis, score=hypothesis.score + factor * float(own))
            for hypothesis, own in zip(hypotheses, similarity, strict=True)
        ]
        best, *others = ranked(scored)
        own = contributions[:, next(place for place, each in enumerate(scored) if each is best)]
        return [replace(best, neighbours=self._neighbours(images, cosines, own)), *others]

    def _contributions(self, images: Integers, weights: Floats, hypotheses: Sequence[Hypothesis]) -> Floats:
        """Return what each neighbour, int64 [K], adds to the similarity of each of H hypotheses, float64 [K, H]."""
        known, owner = self.datastore.captions.of_images(images)
        num_hypotheses = len(hypotheses)
        own = [self._numbers[hypothesis.ids].tolist() for hypothesis in hypotheses]
        table = self._index.count(Captions.of(own + known))
        # Of each caption of the neighbours: the neighbour's weight, shared by its captions.
        weight = weights[owner] / np.bincount(owner)[owner] / ORDERS
        total = np.zeros((len(images), num_hypotheses))
        for entries, tf_idf, norms in zip(table.orders, *self._tf_idf.weigh(table), strict=True):
            length = norms[entries.caption]
            values = np.divide(tf_idf, length, out=tf_idf, where=length > 0)
            is_own = entries.caption < num_hypotheses
            wanted, column = np.unique(entries.ngram[is_own], return_inverse=True)
            if not len(wanted):
                continue
            candidates = np.zeros((len(wanted), num_hypotheses))
            candidates[column, entries.caption[is_own]] = values[is_own]
            ngram, caption, value = (
                entries.ngram[~is_own],
                entries.caption[~is_own] - num_hypotheses,
                values[~is_own],
            )
            column = np.minimum(np.searchsorted(wanted, ngram), len(wanted) - 1)
            found = np.flatnonzero(wanted[column] == ngram)
            shape = (len(images), len(wanted))
            cells = np.ravel_multi_index((owner[caption[found]], column[found]), shape)
            spoken = value[found] * weight[caption[found]]
            total += np.bincount(cells, spoken, np.prod(shape)).reshape(shape) @ candidates
        return total

    def _neighbours(
        self, images: Integers, cosines: npt.NDArray[np.float32], contributions: Floats
    ) -> tuple[Neighbour, ...]:
        """Return the neighbours that contributed most, at most five, and the nearest if it is not among them."""
        total = contributions.sum()
        leading = [
            place for place in np.argsort(-contributions, kind="stable")[:SHOWN] if contributions[place] > 0
        ]
        return tuple(
            Neighbour(
                self.datastore.keys[images[place]],
                float(cosines[place]),
                float(contributions[place] / total) if total else 0.0,
                [self._tokenizer.join(tokens) for tokens in self.datastore.captions[images[place]]],
            )
            for place in dict.fromkeys((*leading, 0))
        )
