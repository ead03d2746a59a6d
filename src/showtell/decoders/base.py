"""What every decoder can do.

Searches go through `init_state` and `step` and know nothing else; training goes through `forward_hidden` and `project`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from showtell.encoders.features import Features
from showtell.kernels.dropout import Dropout


class State(Protocol):
    """What a decoder remembers of each hypothesis: tensors with leading [P, K].

    A state may also have ``keep(pictures)``, which returns the states of these pictures alone, int64 [P']; with it
    pictures whose captions are done leave the batch of a search.
    """

    def reorder(self, parents: Tensor) -> Self:
        """Return the states of the parents, int64 [P, K'], each an index into K."""
        ...

    def filter(self, pictures: Tensor) -> Self:
        """Return the states of these pictures alone, int64 [P']: a search lets go of those that are done."""
        ...


S = TypeVar("S", bound=State)


class Decoder(Protocol[S]):
    """P pictures x K hypotheses: one step, or a whole sentence by teacher forcing; both give the same logits."""

    def init_state(self, features: Features, hypotheses: int) -> S:
        """Return the state of K hypotheses about each picture before the first word."""
        ...

    def step(self, tokens: Tensor, state: S) -> tuple[Tensor, S, Tensor | None]:
        """Read one token per hypothesis.

        Args:
            tokens: int64 [P, K], ``<bos>`` first.
            state: What `init_state` or the previous step returned.

        Returns:
            Logits of the next token float32 [P, K, V], the new state, and where the decoder looked
            float32 [P, K, R] (None for decoders without attention).
        """
        ...

    def forward_hidden(self, features: Features, tokens: Tensor) -> Tensor:
        """Return what it holds after each token, float [P, K, T, X], for ids int64 [P, K, T] (teacher forcing).

        ``<bos>`` comes first. What stands where the token read is ``<pad>`` means nothing: a decoder may leave it
        out of its work.
        """
        ...

    def project(self, held: Tensor) -> Tensor:
        """Return the logits of the next token, float [..., V] in the precision of training, for what `forward_hidden` held.

        It is a step of its own so that the vocabulary is gone through where there is a word, and not for padding.
        """
        ...

    def forward(self, features: Features, tokens: Tensor) -> Tensor:
        """Return logits float32 [P, K, T, V] for token ids int64 [P, K, T], ``<bos>`` first: `forward_hidden`, then `project`."""
        ...


class BaseDecoder(nn.Module, ABC):
    """What decoders share: the next word is named by one layer over what was held, after dropout."""

    dropout: Dropout
    output: nn.Linear

    @abstractmethod
    def forward_hidden(self, features: Features, tokens: Tensor) -> Tensor:
        """Return what it holds after each token, see `Decoder.read`."""

    def project(self, held: Tensor) -> Tensor:
        """Return logits float [..., V] for float [..., X]."""
        logits: Tensor = self.output(self.dropout(held))
        return logits

    def forward(self, features: Features, tokens: Tensor) -> Tensor:
        """Return logits float32 [P, K, T, V] for tokens int64 [P, K, T]."""
        return self.project(self.forward_hidden(features, tokens)).float()


def check_regions(features: Features) -> None:
    """Refuse pictures that cannot be attended to: the softmax over no region is NaN.

    Raises:
        ValueError: a picture has no real region.
    """
    # An exported graph cannot look at its numbers; what runs it knows that encoders leave no picture without.
    if not torch.compiler.is_exporting() and not bool(features.mask.any(dim=1).all()):
        raise ValueError("a picture without a real region cannot be attended to")


def select_hypotheses(values: Tensor, parents: Tensor) -> Tensor:
    """Gather ``values`` [P, K, ...] by ``parents`` int64 [P, K'], each an index into K -> [P, K', ...]."""
    first = torch.arange(parents.shape[0], device=parents.device).unsqueeze(1) * values.shape[1]
    # By rows: gathering number by number takes several times as long where states are wide.
    chosen = values.flatten(0, 1).index_select(0, (first + parents).flatten())
    return chosen.view(*parents.shape, *values.shape[2:])
