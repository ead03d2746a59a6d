"""The sentences under way: what was said so far, for P pictures x K hypotheses, kept on the host."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from showtell.generation.array_ops import Array, to_numpy
from showtell.generation.hypothesis import Hypothesis, make_hypothesis

_WORTH_LEAVING = 0.75


@dataclass
class RunningHypotheses:
    """P x K sentences of T tokens each.

    Attributes:
        ids: int64 [P, K, T].
        log_probs: Of each token, float64 [P, K, T].
        attention: Where the decoder looked for each token, float32 [P, K, T, R]; None: not kept.
    """

    ids: npt.NDArray[np.int64]
    log_probs: npt.NDArray[np.float64]
    attention: npt.NDArray[np.float32] | None = None

    @classmethod
    def empty(cls, pictures: int, hypotheses: int) -> RunningHypotheses:
        """Return P x K sentences of no tokens."""
        shape = (pictures, hypotheses, 0)
        return cls(np.zeros(shape, np.int64), np.zeros(shape, np.float64))

    def watching(self, looks: Array | None) -> RunningHypotheses:
        """Return the sentences before their first word, ready to keep looks like these, [P, 1, R] (None: none)."""
        if looks is None:
            return self
        return replace(self, attention=np.zeros((*self.ids.shape, looks.shape[2]), np.float32))

    def reorder(self, parents: npt.NDArray[np.int64]) -> RunningHypotheses:
        """Return the sentences of the parents, int64 [P, K']."""
        rows = np.arange(len(parents))[:, None]
        attention = None if self.attention is None else self.attention[rows, parents]
        return RunningHypotheses(self.ids[rows, parents], self.log_probs[rows, parents], attention)

    def filter(self, pictures: npt.NDArray[np.int64]) -> RunningHypotheses:
        """Return the sentences about these pictures alone, int64 [P']."""
        attention = None if self.attention is None else self.attention[pictures]
        return RunningHypotheses(self.ids[pictures], self.log_probs[pictures], attention)

    def append(
        self,
        tokens: npt.NDArray[np.int64],
        log_probs: npt.NDArray[np.float64],
        looks: npt.NDArray[np.float32] | None,
    ) -> RunningHypotheses:
        """Return the sentences with one more token each: [P, K], its log-probability [P, K], looks [P, K, R]."""
        attention = self.attention
        if attention is not None and looks is not None:
            attention = np.concatenate((attention, looks[:, :, None]), axis=2)
        return RunningHypotheses(
            np.concatenate((self.ids, tokens[:, :, None]), axis=2),
            np.concatenate((self.log_probs, log_probs[:, :, None]), axis=2),
            attention,
        )

    def hypothesis(self, picture: int, place: int, end: float | None, length_penalty: float) -> Hypothesis:
        """Return one sentence; ``end`` is the log-probability of its end, None where that did not come."""
        attention = None if self.attention is None else self.attention[picture, place]
        return make_hypothesis(
            self.ids[picture, place], self.log_probs[picture, place], end, length_penalty, attention
        )


def gather_attention(looks: Array | None, parents: npt.NDArray[np.int64]) -> npt.NDArray[np.float32] | None:
    """Return where the parents [P, K'] looked, float32 [P, K', R], of looks [P, K, R]; None of None."""
    if looks is None:
        return None
    return to_numpy(looks).astype(np.float32)[np.arange(len(parents))[:, None], parents]


def should_shrink_batch(state: Any, going: int, pictures: int) -> bool:
    """Return whether the pictures that are done shall leave the batch: a quarter of it is worth the copying.

    A state that has no ``keep(pictures)`` carries them along; the captions are the same.
    """
    return hasattr(state, "keep") and going <= _WORTH_LEAVING * pictures
