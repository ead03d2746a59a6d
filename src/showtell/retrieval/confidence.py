"""How probable it is that a caption and its words are right, by a calibration (`showtell calibrate`).

A word is right if one of the image's references has it. A caption is right if at least half of its words that carry
meaning are (`showtell.text.bad_endings.JOINING` has the others). A logistic regression has these features:

======================  ================================================================================
``log_prob``            of the word, of the caption the mean over its words
``neighbours``          weight of the similar images with the word in one of their captions, as logit
``neighbour_captions``  weight of their captions with the word, as logit
``distance``            how much of the image the datastore's components do not explain (logarithm)
``words``               probability that half of the words are right, were they independent, as logit
``consensus``           mean over the words with meaning of ``neighbour_captions``' weight, as logit
======================  ================================================================================

``words`` is a sum over all numbers of right words, so that captions of any length can be compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from showtell.config.confidence import CaptionWeights, ConfidenceWeights, WordWeights
from showtell.generation.hypothesis import Confidence, Hypothesis
from showtell.metrics.ngrams import Floats, Integers
from showtell.retrieval.datastore import Datastore
from showtell.retrieval.rerank import neighbour_weights, token_numbers
from showtell.text.bad_endings import JOINING
from showtell.tokenizer import Tokenizer

NEIGHBOURS = 60
"""Images whose captions are compared, whatever the options say: calibrated for as many."""
_LEAST_LOG_PROB = -20.0
_SMOOTHING = 0.01


@dataclass(frozen=True)
class Evidence:
    """What is known of a caption of T words."""

    words: Mapping[str, Floats]  # features by name, [T] each
    has_meaning: npt.NDArray[np.bool_]  # of each word [T]; all if no word has
    support: Floats | None  # weight of similar images' captions with the word [T]; None without a datastore

    def caption_features(self, probabilities: Floats) -> dict[str, float]:
        """Return the features of the caption, given the probabilities of its words [T]."""
        features = {
            "words": float(logit(at_least_half(probabilities[self.has_meaning]))),
            "log_prob": float(self.words["log_prob"].mean()),
        }
        if self.support is not None:
            features["consensus"] = float(logit(self.support[self.has_meaning].mean()))
        return features


class EvidenceSource:
    """Collects evidence with a vocabulary and, if it is used, a datastore."""

    def __init__(self, tokenizer: Tokenizer, datastore: Datastore | None) -> None:
        self._tokenizer, self._datastore = tokenizer, datastore
        self._numbers = None if datastore is None else token_numbers(datastore, tokenizer)

    def __call__(self, pooled: npt.NDArray[Any], hypotheses: Sequence[Hypothesis]) -> list[Evidence]:
        """Return the evidence for one caption of each image with pooled features float [P, D]."""
        if self._datastore is None:
            return [self._evidence(each, None, 0.0) for each in hypotheses]
        nearest, cosines = self._datastore.nearest(pooled, NEIGHBOURS)
        distances = np.log(np.maximum(self._datastore.projection.outside(pooled), 1e-6))
        return [
            self._evidence(hypothesis, self._support(hypothesis.ids, images, weights), distance)
            for hypothesis, images, weights, distance in zip(
                hypotheses, nearest, neighbour_weights(cosines), distances.tolist(), strict=True
            )
        ]

    def _evidence(
        self, hypothesis: Hypothesis, support: tuple[Floats, Floats] | None, distance: float
    ) -> Evidence:
        groups = self._tokenizer.word_groups(hypothesis.ids)
        log_probs = [sum(hypothesis.token_log_probs[place] for place in group) for group in groups]
        features = {"log_prob": np.maximum(np.array(log_probs), _LEAST_LOG_PROB)}
        has_meaning = np.array([word not in JOINING for word in self._tokenizer.words(hypothesis.ids)], bool)
        has_meaning |= not has_meaning.any()
        if support is None:
            return Evidence(features, has_meaning, None)
        images, captions = (np.array([part[group].min() for group in groups]) for part in support)
        features["neighbours"], features["neighbour_captions"] = logit(images), logit(captions)
        features["distance"] = np.full(len(groups), distance)
        return Evidence(features, has_meaning, captions)

    def _support(self, ids: Sequence[int], images: Integers, weights: Floats) -> tuple[Floats, Floats]:
        """Return, of each token, the weight of the images with it, and that of the captions [T]."""
        assert self._datastore is not None
        assert self._numbers is not None
        captions, owner = self._datastore.captions.of_images(images)
        tokens, caption = self._datastore.captions.tokens_of(captions)
        weight = weights[owner] / np.bincount(owner)[owner]
        holding = [np.unique(caption[tokens == number]) for number in self._numbers[list(ids)]]
        by_image = [weights[np.unique(owner[each])].sum() for each in holding]
        return np.array(by_image), np.array([weight[each].sum() for each in holding])


def add_confidence(hypothesis: Hypothesis, evidence: Evidence, weights: ConfidenceWeights) -> Hypothesis:
    """Return a hypothesis of at least one word with its confidence; one without words as it is."""
    if not len(evidence.has_meaning):
        return hypothesis
    words = probability(weights.words, evidence.words)
    caption = probability(weights.caption, evidence.caption_features(words))
    return replace(hypothesis, confidence=Confidence(float(caption), tuple(words.tolist())))


def probability(weights: WordWeights | CaptionWeights, features: Mapping[str, Any]) -> Any:
    """Return the probability that the weights give features, floats or float64 [N]."""
    total = weights.bias + sum(weight * features[name] for name, weight in weights.weights.items())
    return 1 / (1 + np.exp(-np.clip(total, -500, 500)))


def at_least_half(probabilities: Floats) -> float:
    """Return the probability that at least half of N independent events happen, float64 [N]."""
    counts = np.ones(1)  # of the numbers that happen
    for each in probabilities:
        counts = np.convolve(counts, [1 - each, each])
    return float(counts[(len(probabilities) + 1) // 2 :].sum())


def logit(probability: Any) -> Any:
    """Return smoothed logit, finite for 0 and 1."""
    return np.log((probability + _SMOOTHING) / (1 - probability + _SMOOTHING))
