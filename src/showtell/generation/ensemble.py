"""Several decoders as one, by the mean of their probabilities; on torch and on numpy.

Probabilities are averaged, not logits: a token that one decoder excludes can still be generated if others are sure.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from showtell.generation.array_ops import Array, log_softmax, logsumexp, namespace


@dataclass(frozen=True)
class EnsembleState:
    """The states of all members, in their order."""

    members: tuple[Any, ...]

    def reorder(self, beam_indices: Array) -> Self:
        """Return the states of the hypotheses, int64 [P, K']."""
        return type(self)(tuple(member.reorder(beam_indices) for member in self.members))

    def filter(self, batch_indices: Array) -> Self:
        """Return the states of these images, int64 [P']."""
        return type(self)(tuple(member.filter(batch_indices) for member in self.members))


class EnsembleDecoder:
    """Decoders of one vocabulary and one encoder, searched like one."""

    def __init__(self, members: Sequence[Any]) -> None:
        self.members = members

    def init_state(self, features: Any, num_hypotheses: int) -> EnsembleState:
        """Return the state of K hypotheses of each image before the first token."""
        return EnsembleState(tuple(member.init_state(features, num_hypotheses) for member in self.members))

    def step(self, tokens: Array, state: EnsembleState) -> tuple[Array, EnsembleState, Array | None]:
        """Read tokens int64 [P, K]; return log-probabilities float32 [P, K, V], the new state, attention [P, K, R].

        Attention is the mean of the members', or None if one has none.
        """
        steps = [
            member.step(tokens, member_state)
            for member, member_state in zip(self.members, state.members, strict=True)
        ]
        weights = [attention for _, _, attention in steps if attention is not None]
        attention = sum(weights) / len(weights) if len(weights) == len(steps) else None  # [P, K, R]
        states = tuple(member_state for _, member_state, _ in steps)
        return mean_probability([logits for logits, _, _ in steps]), EnsembleState(states), attention


def mean_probability(logits: Sequence[Array]) -> Array:
    """Return the logarithm of the mean of the softmaxes of logits float [..., V], float32 [..., V]."""
    each = namespace(logits[0]).stack([log_softmax(one) for one in logits], axis=-1)  # [..., V, M]
    return logsumexp(each) - math.log(len(logits))
