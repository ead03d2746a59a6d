"""The special tokens that a search needs, and the hypotheses that it returns."""

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
class Hypothesis:
    """One generated caption of T tokens."""

    ids: list[int]  # without special tokens
    score: float  # log_prob / length ** length_penalty; length counts the tokens, and the end if it was generated
    log_prob: float  # sum of the decoder's log-probabilities (natural log) of the tokens, and of the end if generated
    token_log_probs: list[float]  # of the T tokens; log_prob minus their sum belongs to the end
    truncated: bool  # no end within max_tokens, or all tokens were banned before it
    attention: (
        npt.NDArray[np.float32] | None
    )  # weights of each token [T, R]; None: not requested or not available

    def word_attention(self, groups: Sequence[Sequence[int]]) -> npt.NDArray[np.float32] | None:
        """Return the mean attention weights of each word's tokens (`Tokenizer.word_groups`), float32 [words, R]."""
        if self.attention is None:
            return None
        weights = [self.attention[list(group)].mean(axis=0) for group in groups]
        return np.array(weights, np.float32).reshape(len(groups), self.attention.shape[1])


def ranked(hypotheses: Iterable[Hypothesis]) -> list[Hypothesis]:
    """Return hypotheses by score, best first; equal scores are ordered by their tokens."""
    return sorted(hypotheses, key=lambda hypothesis: (-hypothesis.score, hypothesis.ids))
