"""The hypotheses of a search: running ones, P images x K on the host, those that it returns, and special tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from showtell.config.generation import DecodingOptions
from showtell.generation.array_ops import Array, to_numpy

if TYPE_CHECKING:
    from showtell.tokenizer import Tokenizer

_SHRINK_BELOW = 0.75


@dataclass(frozen=True)
class SpecialTokens:
    """The ids of the tokens that are not words."""

    pad: int
    bos: int
    eos: int
    unk: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Self:
        """Return the special tokens of a vocabulary."""
        return cls(tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id)

    @property
    def banned_ids(self) -> tuple[int, int, int]:
        """The ids that no caption may contain; ``eos`` ends one."""
        return self.pad, self.bos, self.unk


@dataclass(frozen=True)
class Confidence:
    """Calibrated probabilities: that a caption is right, and that each of its words is."""

    caption: float
    words: tuple[float, ...]


@dataclass(frozen=True)
class Hypothesis:
    """One generated caption of T tokens."""

    ids: list[int]  # without special tokens
    score: float  # (log_prob + repetition_cost) / length ** length_penalty; length includes a generated end
    log_prob: float  # sum of the decoder's log-probabilities (natural log) of the tokens, and of the end if generated
    token_log_probs: list[float]  # of the T tokens; log_prob minus their sum belongs to the end
    truncated: bool  # all tokens were banned or had probability 0, the end too
    attention: npt.NDArray[np.float32] | None  # of each token [T, R]; None: not requested or not available
    neighbours: tuple[Any, ...] = ()  # `showtell.retrieval.rerank.Neighbour`, the one with most weight first
    confidence: Confidence | None = None  # of the best one, by a captioner that is calibrated

    def word_attention(self, groups: Sequence[Sequence[int]]) -> npt.NDArray[np.float32] | None:
        """Return the mean attention weights of each word's tokens (`Tokenizer.word_groups`), float32 [words, R]."""
        if self.attention is None:
            return None
        weights = [self.attention[list(group)].mean(axis=0) for group in groups]
        return np.array(weights, np.float32).reshape(len(groups), self.attention.shape[1])


@dataclass
class RunningHypotheses:
    """P x K sequences of T tokens each."""

    ids: npt.NDArray[np.int64]  # [P, K, T]
    log_probs: npt.NDArray[np.float64]  # of each token [P, K, T]
    attention: npt.NDArray[np.float32] | None = None  # of each token [P, K, T, R]; None: not recorded

    @classmethod
    def empty(cls, num_images: int, num_hypotheses: int) -> Self:
        """Return P x K sequences without tokens."""
        shape = (num_images, num_hypotheses, 0)
        return cls(np.zeros(shape, np.int64), np.zeros(shape, np.float64))

    @property
    def num_tokens(self) -> int:
        """Tokens T so far."""
        return int(self.ids.shape[2])

    def init_attention(self, weights: Array | None) -> Self:
        """Return empty sequences that record attention weights like these, [P, 1, R] (None: not recorded)."""
        if weights is None:
            return self
        return replace(self, attention=np.zeros((*self.ids.shape, weights.shape[2]), np.float32))

    def reorder(self, parents: npt.NDArray[np.int64]) -> Self:
        """Return the sequences of the parents, int64 [P, K']."""
        return self._index((np.arange(len(parents))[:, None], parents))

    def filter(self, images: npt.NDArray[np.int64]) -> Self:
        """Return the sequences of these images, int64 [P']."""
        return self._index(images)

    def _index(self, index: Any) -> Self:
        attention = None if self.attention is None else self.attention[index]
        return type(self)(self.ids[index], self.log_probs[index], attention)

    def append(
        self,
        tokens: npt.NDArray[np.int64],
        log_probs: npt.NDArray[np.float64],
        weights: Array | None,
        parents: npt.NDArray[np.int64],
    ) -> Self:
        """Return the sequences with one more token [P, K], its log-probability [P, K] and its attention.

        The attention is that of the sequence's parent, int64 [P, K], in the step's weights [P, K', R].
        """
        attention = self.attention
        if attention is not None and weights is not None:
            gathered = to_numpy(weights).astype(np.float32)[np.arange(len(parents))[:, None], parents]
            attention = np.concatenate((attention, gathered[:, :, None]), axis=2)
        return type(self)(
            np.concatenate((self.ids, tokens[:, :, None]), axis=2),
            np.concatenate((self.log_probs, log_probs[:, :, None]), axis=2),
            attention,
        )

    def hypothesis(self, image: int, index: int, end: float | None, options: DecodingOptions) -> Hypothesis:
        """Return one sequence of an image as a hypothesis; the length penalty is applied here and nowhere else.

        ``end`` is the log-probability of the end token, None if it was not generated.
        """
        ids, log_probs = self.ids[image, index], self.log_probs[image, index]
        total = float(log_probs.sum()) + (end or 0.0)
        length = max(1, len(ids) + (end is not None))
        return Hypothesis(
            ids=ids.tolist(),
            score=(total + repetition_cost(ids, log_probs, options)) / length**options.length_penalty,
            log_prob=total,
            token_log_probs=log_probs.tolist(),
            truncated=end is None,
            attention=None if self.attention is None else self.attention[image, index].copy(),
        )


def repetition_cost(ids: Sequence[int], log_probs: Sequence[float], options: DecodingOptions) -> float:
    """Return what the repetition penalty adds to the log-probability of a caption, 0 or less."""
    if options.repetition_penalty == 1:
        return 0.0
    repeated = [log_prob for place, log_prob in enumerate(log_probs) if ids[place] in ids[:place]]
    return (options.repetition_penalty - 1) * float(sum(repeated))


OnStep: TypeAlias = Callable[[npt.NDArray[np.int64], RunningHypotheses], None]
"""Called after each step with the images that are not finished, int64 [P'], and their sequences so far."""


def ranked(hypotheses: Iterable[Hypothesis]) -> list[Hypothesis]:
    """Return hypotheses by score, best first; equal scores are ordered by their tokens."""
    return sorted(hypotheses, key=lambda hypothesis: (-hypothesis.score, hypothesis.ids))


def should_shrink(num_alive: int, batch_size: int) -> bool:
    """Return whether to remove finished images from the batch: copying pays off once a quarter is finished."""
    return num_alive <= _SHRINK_BELOW * batch_size
