"""The running hypotheses of a search: tokens so far for P images x K hypotheses, on the host."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from showtell.generation.array_ops import Array, to_numpy
from showtell.generation.hypothesis import Hypothesis

_SHRINK_BELOW = 0.75


@dataclass
class RunningHypotheses:
    """P x K sequences of T tokens each."""

    ids: npt.NDArray[np.int64]  # [P, K, T]
    log_probs: npt.NDArray[np.float64]  # of each token [P, K, T]
    attention: npt.NDArray[np.float32] | None = None  # of each token [P, K, T, R]; None: not recorded

    @classmethod
    def empty(cls, num_images: int, num_hypotheses: int) -> "RunningHypotheses":
        """Return P x K sequences without tokens."""
        shape = (num_images, num_hypotheses, 0)
        return cls(np.zeros(shape, np.int64), np.zeros(shape, np.float64))

    @property
    def num_tokens(self) -> int:
        """Tokens T so far."""
        return int(self.ids.shape[2])

    def init_attention(self, weights: Array | None) -> "RunningHypotheses":
        """Return empty sequences that record attention weights like these, [P, 1, R] (None: not recorded)."""
        if weights is None:
            return self
        return replace(self, attention=np.zeros((*self.ids.shape, weights.shape[2]), np.float32))

    def reorder(self, parents: npt.NDArray[np.int64]) -> "RunningHypotheses":
        """Return the sequences of the parents, int64 [P, K']."""
        return self._index((np.arange(len(parents))[:, None], parents))

    def filter(self, images: npt.NDArray[np.int64]) -> "RunningHypotheses":
        """Return the sequences of these images, int64 [P']."""
        return self._index(images)

    def _index(self, index: Any) -> "RunningHypotheses":
        attention = None if self.attention is None else self.attention[index]
        return RunningHypotheses(self.ids[index], self.log_probs[index], attention)

    def append(
        self,
        tokens: npt.NDArray[np.int64],
        log_probs: npt.NDArray[np.float64],
        weights: npt.NDArray[np.float32] | None,
    ) -> "RunningHypotheses":
        """Return the sequences plus a token each [P, K], its log-probability [P, K] and attention [P, K, R]."""
        attention = self.attention
        if attention is not None and weights is not None:
            attention = np.concatenate((attention, weights[:, :, None]), axis=2)
        return RunningHypotheses(
            np.concatenate((self.ids, tokens[:, :, None]), axis=2),
            np.concatenate((self.log_probs, log_probs[:, :, None]), axis=2),
            attention,
        )

    def hypothesis(self, image: int, index: int, end: float | None, length_penalty: float) -> Hypothesis:
        """Return one sequence of an image as a hypothesis; the length penalty is applied here and nowhere else.

        ``end`` is the log-probability of the end token, None if it was not generated.
        """
        ids, log_probs = self.ids[image, index], self.log_probs[image, index]
        total = float(log_probs.sum()) + (end or 0.0)
        length = max(1, len(ids) + (end is not None))
        return Hypothesis(
            ids=ids.tolist(),
            score=total / length**length_penalty,
            log_prob=total,
            token_log_probs=log_probs.tolist(),
            truncated=end is None,
            attention=None if self.attention is None else self.attention[image, index].copy(),
        )


def gather_attention(weights: Array | None, parents: npt.NDArray[np.int64]) -> npt.NDArray[np.float32] | None:
    """Return the parents' attention weights, float32 [P, K', R], of weights [P, K, R]; None for None."""
    if weights is None:
        return None
    return to_numpy(weights).astype(np.float32)[np.arange(len(parents))[:, None], parents]


def should_shrink_batch(num_alive: int, batch_size: int) -> bool:
    """Return whether to remove finished images from the batch: copying pays off once a quarter is finished."""
    return num_alive <= _SHRINK_BELOW * batch_size
