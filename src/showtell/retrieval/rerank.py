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
from showtell.retrieval.consensus import CaptionNgrams, Consensus
from showtell.retrieval.datastore import Datastore, Integers
from showtell.tokenizer import Tokenizer

SHARPNESS = 8.0
"""A neighbour's weight is proportional to exp(SHARPNESS x cosine)."""
SOURCES = 10
"""The nearest neighbours whose own captions compete."""
RETRIEVED_PENALTY = 2.0
"""Taken from the score of a neighbour's own caption: people described another image, and it speaks for itself."""
SHOWN = 5

ScoreCaptions = Callable[[list[int], list[list[int]]], Sequence[Hypothesis | None]]
"""Returns a given caption, ids, of each of some images of the batch as a hypothesis; None: the options forbid it."""


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


def neighbour_weights(cosines: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the weights of the neighbours of P images, with the sum 1, from their cosines [P, K], largest first."""
    weights = np.exp(SHARPNESS * (cosines.astype(np.float64) - cosines[:, :1]))
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def token_numbers(datastore: Datastore, tokenizer: Tokenizer) -> Integers:
    """Return the datastore's number of each token, int64 [V]; of one that no caption has, a number above those."""
    numbers = {word: number for number, word in enumerate(datastore.captions.words)}
    return np.array([numbers.setdefault(token, len(numbers)) for token in tokenizer.tokens])


class Reranker:
    """Orders hypotheses, and a caption of a similar image, by log-probability and by what all those captions say."""

    def __init__(self, datastore: Datastore, tokenizer: Tokenizer) -> None:
        self.datastore, self._tokenizer = datastore, tokenizer
        words = datastore.captions.words
        ids = {token: index for index, token in enumerate(tokenizer.tokens)}
        self._ids = np.array([ids.get(word, tokenizer.unk_id) for word in words], np.int64)
        self._numbers = token_numbers(datastore, tokenizer)
        self._ngrams = CaptionNgrams(datastore.captions)

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
        the best one less `RETRIEVED_PENALTY`. Where it wins, it is among the hypotheses, with the log-probabilities
        of ``score_captions``. The first hypothesis of each image names the neighbours that contributed most.
        """
        nearest, cosines = self.datastore.nearest(pooled, options.neighbours)
        weights = neighbour_weights(cosines)
        consensus = list(map(self._ngrams.consensus, nearest, weights))
        reranked = [
            self._rerank(each, hypotheses, options.retrieval_weight)
            for each, hypotheses in zip(consensus, results, strict=True)
        ]
        retrieved: dict[int, tuple[list[int], float]] = {}
        if options.retrieve_caption:
            for row, (each, hypotheses) in enumerate(zip(consensus, results, strict=True)):
                ids, similarity = self._retrieved(each, nearest[row], hypotheses)
                score = hypotheses[0].score - RETRIEVED_PENALTY + options.retrieval_weight * similarity
                if ids and (-score, ids) < (-reranked[row][0].score, reranked[row][0].ids):
                    retrieved[row] = ids, score
        captions = [ids for ids, _ in retrieved.values()]
        scored = score_captions(list(retrieved), captions) if captions else []
        for (row, (_, score)), hypothesis in zip(retrieved.items(), scored, strict=True):
            if hypothesis is not None:
                reranked[row].insert(0, replace(hypothesis, score=score))
        for row, (best, *others) in enumerate(reranked):
            own = consensus[row].by_neighbour(self._ngrams.weigh([self._numbers[best.ids].tolist()]))
            neighbours = self._neighbours(nearest[row], cosines[row], own)
            reranked[row] = [replace(best, neighbours=neighbours), *others]
        return reranked

    def _rerank(
        self, consensus: Consensus, hypotheses: Sequence[Hypothesis], factor: float
    ) -> list[Hypothesis]:
        """Return the hypotheses of one image by their new scores."""
        own = self._ngrams.weigh([self._numbers[list(each.ids)].tolist() for each in hypotheses])
        similarity = consensus.similarity(own, len(hypotheses)).tolist()
        return ranked(
            replace(hypothesis, score=hypothesis.score + factor * each)
            for hypothesis, each in zip(hypotheses, similarity, strict=True)
        )

    def _retrieved(
        self, consensus: Consensus, images: Integers, hypotheses: Sequence[Hypothesis]
    ) -> tuple[list[int], float]:
        """Return the new caption of the nearest images that is most similar to those of all, as ids; [] if none is.

        Its similarity comes with it.
        """
        captions, _ = self.datastore.captions.of_images(images[:SOURCES])
        similarity = consensus.own_similarity()[: len(captions)]
        generated = [hypothesis.ids for hypothesis in hypotheses]
        for place in np.argsort(-similarity, kind="stable"):
            ids = self._ids[self.datastore.captions.caption(captions[place])].tolist()
            if self._tokenizer.unk_id not in ids and ids not in generated:
                return ids, float(similarity[place])
        return [], 0.0

    def _neighbours(
        self, images: Integers, cosines: npt.NDArray[np.float32], contributions: npt.NDArray[np.float64]
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
