"""Several decoders as one: the next word is as likely as they find it on average.

Averaging is over probabilities, not logits: what one decoder thinks impossible is then still said if others are sure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.checkpoints.checkpoint import Checkpoint
from showtell.checkpoints.hub import TOKENIZER
from showtell.encoders.encoder import identity_differences
from showtell.encoders.features import Features
from showtell.errors import CheckpointError


@dataclass(frozen=True)
class EnsembleState:
    """The states of all members, in their order."""

    members: tuple[Any, ...]

    def reorder(self, parents: Tensor) -> Self:
        """Return the states of the parents, int64 [P, K']."""
        return type(self)(tuple(member.reorder(parents) for member in self.members))

    def filter(self, pictures: Tensor) -> Self:
        """Return the states of these pictures alone, int64 [P']."""
        return type(self)(tuple(member.filter(pictures) for member in self.members))


class Ensemble(nn.Module):
    """Decoders of one vocabulary and one encoder, as one decoder.

    Args:
        members: At least one; see `showtell.decoders.base.Decoder`.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def init_state(self, features: Features, hypotheses: int) -> EnsembleState:
        """Return the state of K hypotheses about each picture before the first word."""
        return EnsembleState(tuple(member.init_state(features, hypotheses) for member in self.members))  # type: ignore[operator]

    def step(self, tokens: Tensor, state: EnsembleState) -> tuple[Tensor, EnsembleState, Tensor | None]:
        """Read tokens int64 [P, K]; return log-probabilities float32 [P, K, V], the new state, mean attention."""
        steps = [
            member.step(tokens, one)  # type: ignore[operator]
            for member, one in zip(self.members, state.members, strict=True)
        ]
        looked = [attention for _, _, attention in steps if attention is not None]
        attention = torch.stack(looked).mean(dim=0) if len(looked) == len(steps) else None  # [P, K, R]
        states = tuple(one for _, one, _ in steps)
        return mean_probability([logits for logits, _, _ in steps]), EnsembleState(states), attention


def mean_probability(logits: Sequence[Tensor]) -> Tensor:
    """Return the logarithm of the mean of the softmaxes of logits float [..., V], float32 [..., V]."""
    each = torch.stack([one.float().log_softmax(dim=-1) for one in logits])  # [M, ..., V]
    return each.logsumexp(dim=0) - math.log(len(logits))


def make_ensemble(checkpoints: Sequence[Checkpoint]) -> CaptioningModel:
    """Return captioners as one, which looks through the first one's encoder.

    Raises:
        CheckpointError: they have different vocabularies, or see through different encoders.
    """
    check_compatible(checkpoints, what="tell together with the first")
    ensemble = Ensemble([checkpoint.model.decoder for checkpoint in checkpoints])
    return CaptioningModel(ensemble, checkpoints[0].model.encoder).eval()  # type: ignore[arg-type]


def check_compatible(checkpoints: Sequence[Checkpoint], *, what: str) -> None:
    """Make sure that captioners have one vocabulary and see through one encoder.

    Args:
        checkpoints: The captioners.
        what: What one cannot do that is unlike the first, for the message.

    Raises:
        CheckpointError: they do not.
    """
    first = checkpoints[0]
    for number, other in enumerate(checkpoints[1:], start=2):
        cannot = f"captioner {number} cannot {what}"
        if other.config["files"][TOKENIZER] != first.config["files"][TOKENIZER]:
            raise CheckpointError(
                cannot,
                found="another vocabulary",
                expected=f"the same {first.tokenizer.size:,} tokens",
                mend="Train them on the same prepared set with the same tokenizer",
            )
        differences = identity_differences(
            other.config["encoder"]["identity"], first.config["encoder"]["identity"]
        )
        if differences:
            raise CheckpointError(cannot, found=f"another encoder: {'; '.join(differences)}")
