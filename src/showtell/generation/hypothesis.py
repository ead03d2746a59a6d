"""What a search needs to know of a vocabulary, and what it returns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from showtell.tokenizer import Tokenizer


@dataclass(frozen=True)
class SpecialTokens:
    """The ids of the tokens that are no words."""

    pad: int
    bos: int
    eos: int
    unk: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Self:
        """Return those of a vocabulary."""
        return cls(tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id)

    @property
    def never_said(self) -> tuple[int, int, int]:
        """The ids that no caption may contain; ``eos`` ends one."""
        return self.pad, self.bos, self.unk


@dataclass(frozen=True)
class Hypothesis:
    """One caption that a search found.

    Attributes:
        ids: Its T tokens, no specials.
        score: ``log_prob / length ** length_penalty``, where length counts the tokens, and the end if it came.
        log_prob: Sum of the decoder's log-probabilities of the tokens, and of the end if it came (natural log).
        word_log_probs: One of T for each token; ``log_prob`` less their sum is that of the end.
        truncated: No end came within ``max_tokens`` (or nothing was left to say before it).
        attention: Where the decoder looked for each token, float32 [T, R], if it was asked for and the decoder
            tells.
    """

    ids: list[int]
    score: float
    log_prob: float
    word_log_probs: list[float]
    truncated: bool
    attention: npt.NDArray[np.float32] | None

    def word_attention(self, groups: Sequence[Sequence[int]]) -> npt.NDArray[np.float32] | None:
        """Return where the decoder looked for each word, float32 [words, R]: the mean of what its tokens have.

        Args:
            groups: For each word the positions of its tokens, see `Tokenizer.word_groups`.
        """
        if self.attention is None:
            return None
        looks = [self.attention[list(group)].mean(axis=0) for group in groups]
        return np.array(looks, np.float32).reshape(len(groups), self.attention.shape[1])


def make_hypothesis(
    ids: npt.NDArray[np.int64],
    log_probs: npt.NDArray[np.float64],
    end: float | None,
    length_penalty: float,
    attention: npt.NDArray[np.float32] | None,
) -> Hypothesis:
    """Apply the length rule, the only place where it is applied.

    Args:
        ids: The tokens [T].
        log_probs: Their log-probabilities [T].
        end: Log-probability of the end; None where it did not come.
        length_penalty: The exponent of the length.
        attention: float32 [T, R], or None.
    """
    total = float(log_probs.sum()) + (end or 0.0)
    length = max(1, len(ids) + (end is not None))
    return Hypothesis(
        ids=[int(index) for index in ids],
        score=total / length**length_penalty,
        log_prob=total,
        word_log_probs=[float(value) for value in log_probs],
        truncated=end is None,
        attention=None if attention is None else attention.copy(),
    )


def ranked(found: Iterable[Hypothesis]) -> list[Hypothesis]:
    """Return hypotheses by score, best first, equal ones by their tokens."""
    return sorted(found, key=lambda one: (-one.score, one.ids))
