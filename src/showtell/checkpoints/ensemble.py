"""Several decoders as one, by the mean of their probabilities.

Probabilities are averaged, not logits: a token that one decoder excludes can still be generated if others are sure.
"""

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

    def reorder(self, beam_indices: Tensor) -> Self:
        """Return the states of the hypotheses, int64 [P, K']."""
        return type(self)(tuple(member.reorder(beam_indices) for member in self.members))

    def filter(self, batch_indices: Tensor) -> Self:
        """Return the states of these images, int64 [P']."""
        return type(self)(tuple(member.filter(batch_indices) for member in self.members))


class Ensemble(nn.Module):
    """Decoders of one vocabulary and one encoder, searched like one; see `showtell.decoders.base.BaseDecoder`."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def init_state(self, features: Features, num_hypotheses: int) -> EnsembleState:
        """Return the state of K hypotheses of each image before the first token."""
        states = (member.init_state(features, num_hypotheses) for member in self.members)  # type: ignore[operator]
        return EnsembleState(tuple(states))

    def step(self, tokens: Tensor, state: EnsembleState) -> tuple[Tensor, EnsembleState, Tensor | None]:
        """Read tokens int64 [P, K]; return log-probabilities float32 [P, K, V], the new state, attention [P, K, R].

        Attention is the mean of the members', or None if one has none.
        """
        steps = [
            member.step(tokens, member_state)  # type: ignore[operator]
            for member, member_state in zip(self.members, state.members, strict=True)
        ]
        weights = [attention for _, _, attention in steps if attention is not None]
        attention = torch.stack(weights).mean(dim=0) if len(weights) == len(steps) else None  # [P, K, R]
        states = tuple(member_state for _, member_state, _ in steps)
        return mean_probability([logits for logits, _, _ in steps]), EnsembleState(states), attention


def mean_probability(logits: Sequence[Tensor]) -> Tensor:
    """Return the logarithm of the mean of the softmaxes of logits float [..., V], float32 [..., V]."""
    each = torch.stack([one.float().log_softmax(dim=-1) for one in logits])  # [M, ..., V]
    return each.logsumexp(dim=0) - math.log(len(logits))


def make_ensemble(checkpoints: Sequence[Checkpoint]) -> CaptioningModel:
    """Return captioners as one model with the first one's encoder; a CheckpointError if one does not fit it."""
    check_compatible(checkpoints, action="join an ensemble with the first")
    ensemble = Ensemble([checkpoint.model.decoder for checkpoint in checkpoints])
    return CaptioningModel(ensemble, checkpoints[0].model.encoder).eval()  # type: ignore[arg-type]


def check_compatible(checkpoints: Sequence[Checkpoint], *, action: str) -> None:
    """Raise a CheckpointError that names the ``action`` if one has another vocabulary or encoder than the first."""
    first = checkpoints[0]
    for number, other in enumerate(checkpoints[1:], start=2):
        cannot = f"captioner {number} cannot {action}"
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
