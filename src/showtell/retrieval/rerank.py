"""Reranks the captions of an image by what people wrote about similar images, which competes with what was generated.

The neighbours of an image speak for a caption by CIDEr's cosine: that of its TF-IDF-weighted n-grams with each of
their captions, the mean over the orders 1 to 4 and over each neighbour's captions, weighted by their nearness.
Document frequencies are those of the datastore. (Consensus reranking: Devlin et al. 2015, "Exploring Nearest Neighbor
Approaches for Image Captioning"; Mao et al. 2015, "Learning like a Child", section 4.)
"""

from collections.abc import Callable, Sequence
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
SOURCES = 10
"""The nearest neighbours whose own captions compete."""
RETRIEVED_PENALTY = 2.0
"""Taken from the score of a neighbour's own caption: people described another image, and it speaks for itself."""
SHOWN = 5

Floats = npt.NDArray[np.float64]
ScoreCaptions = Callable[[list[list[list[int]]]], list[list[Hypothesis]]]
"""Returns given captions of each image, ids, as hypotheses; it may leave some out."""


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
    """Orders hypotheses, and a caption of a similar image, by log-probability and by what all those captions say."""

    def __init__(self, datastore: Datastore, tokenizer: Tokenizer) -> None:
        self.datastore, self._tokenizer = datastore, tokenizer
        captions, per_image = datastore.captions, datastore.captions.per_image.astype(np.int64)
        numbers = {word: number for number, word in enumerate(captions.words)}
        ids = {token: index for index, token in enumerate(tokenizer.tokens)}
        self._ids = np.array([ids.get(word, tokenizer.unk_id) for word in captions.words], np.int64)
        # A token that no caption has gets a number above those of the datastore.
        self._numbers = np.array([numbers.setdefault(token, len(numbers)) for token in tokenizer.tokens])
        tokens, lengths = captions.tokens.astype(np.int64), captions.lengths.astype(np.int64)
        self._index = NgramIndex(Captions(tokens, lengths), per_image)
        self._tf_idf = TfIdf(self._index.frequencies(), len(per_image))
        self._index.forget_references()

    def __call__(
        self,
        pooled: npt.NDArray[Any],
        results: Sequence[Sequence[Hypothesis]],
        options: DecodingOptions,
        score_captions: ScoreCaptions,
    ) -> list[list[Hypothesis]]:
        """Return the hypotheses of P images with pooled features float [P, D] by their new scores, best first.

        The new score is the old one plus ``retrieval_weight`` times the similarity to the neighbours' captions, 0..1.
        With ``retrieve_caption``, the most similar caption of the nearest neighbours competes, its old score being
        the best one less `RETRIEVED_PENALTY`; ``score_captions`` gives it the decoder's log-probabilities. The first
        hypothesis of each image names the neighbours that contributed most.
        """
        nearest, cosines = self.datastore.nearest(pooled, options.neighbours)
        weights = np.exp(SHARPNESS * (cosines.astype(np.float64) - cosines[:, :1]))
        weights /= weights.sum(axis=1, keepdims=True)
        retrieved: list[list[Hypothesis]] = [[] for _ in results]
        if options.retrieve_caption:
            retrieved = score_captions(
                [self._retrieved(*each) for each in zip(nearest, weights, results, strict=True)]
            )
        return [
            self._rerank(
                nearest[row],
                cosines[row],
                weights[row],
                [
                    *generated,
                    *(replace(each, score=generated[0].score - RETRIEVED_PENALTY) for each in retrieved[row]),
                ],
                options.retrieval_weight,
            )
            for row, generated in enumerate(results)
        ]

    def _retrieved(
        self, images: Integers, weights: Floats, hypotheses: Sequence[Hypothesis]
    ) -> list[list[int]]:
        """Return the new caption of the nearest images that is most similar to those of all, as ids, if any."""
        captions, _ = self.datastore.captions.of_images(images[:SOURCES])
        distinct = dict.fromkeys(tuple(self._ids[caption].tolist()) for caption in captions)
        generated = {tuple(hypothesis.ids) for hypothesis in hypotheses}
        known = [list(ids) for ids in distinct if self._tokenizer.unk_id not in ids and ids not in generated]
        if not known:
            return []
        return [known[self._contributions(images, weights, known).sum(axis=0).argmax()]]

    def _rerank(
        self,
        images: Integers,
        cosines: npt.NDArray[np.float32],
        weights: Floats,
        hypotheses: Sequence[Hypothesis],
        factor: float,
    ) -> list[Hypothesis]:
        """Return the hypotheses of one image, given its neighbours, [K] each, by their new scores."""
        ids = [hypothesis.ids for hypothesis in hypotheses]
        contributions = self._contributions(images, weights, ids)  # [K, H]
        similarity = contributions.sum(axis=0)
        scored = [
            replace(hypothesis, score=hypothesis.score + factor * float(own))
            for hypothesis, own in zip(hypotheses, similarity, strict=True)
        ]
        best, *others = ranked(scored)
        own = contributions[:, next(place for place, each in enumerate(scored) if each is best)]
        return [replace(best, neighbours=self._neighbours(images, cosines, own)), *others]

    def _contributions(self, images: Integers, weights: Floats, ids: Sequence[Sequence[int]]) -> Floats:
        """Return what each neighbour, int64 [K], adds to the similarity of each of H captions, float64 [K, H]."""
        known, owner = self.datastore.captions.of_images(images)
        num_hypotheses = len(ids)
        own = [self._numbers[list(each)].tolist() for each in ids]
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
