"""The interface of all decoders, and what they share.

Generation calls `init_state` once and `step` for each token; training calls `forward_hidden` (teacher forcing) and
`project`. Both give the same logits.

Shapes: P images, K hypotheses of each (K captions in training), T tokens, R regions, V tokens in the vocabulary.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from showtell.encoders.features import Features
from showtell.kernels.dropout import Dropout


@dataclass(frozen=True)
class DecoderState:
    """A dataclass of tensors [P, ...]; subclasses name those of them that are [P, K, ...]."""

    PER_HYPOTHESIS: ClassVar[tuple[str, ...]]

    def reorder(self, beam_indices: Tensor) -> Self:
        """Return the states of the hypotheses int64 [P, K'], each an index into K; shared tensors are not copied."""
        moved = {name: reorder_hypotheses(getattr(self, name), beam_indices) for name in self.PER_HYPOTHESIS}
        return replace(self, **moved)

    def filter(self, batch_indices: Tensor) -> Self:
        """Return the states of these images alone, int64 [P']."""
        return type(self)(*(getattr(self, field.name)[batch_indices] for field in fields(self)))


class BaseDecoder(nn.Module, ABC):
    """A decoder: ``<bos>`` is the first token that it reads, ``<eos>`` the last one that it predicts.

    Every decoder takes its ``spec`` (sizes and dropout), the number of tokens ``vocabulary``, the channels D of the
    encoder's features as ``encoder_width``, and ``pad_id``, the token whose word vector is zero.
    """

    spec: Any
    pad_id: int
    word_embedding: nn.Embedding
    dropout: Dropout
    output: nn.Linear

    @abstractmethod
    def init_state(self, features: Features, num_hypotheses: int) -> Any:
        """Return the state of K hypotheses of each image before the first token."""

    @abstractmethod
    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any, Tensor | None]:
        """Read one token per hypothesis, int64 [P, K].

        Returns:
            Logits of the next token float32 [P, K, V], the new state, and the attention weights float32 [P, K, R]
            (None for a decoder without attention).
        """

    @abstractmethod
    def forward_hidden(self, features: Features, tokens: Tensor) -> Tensor:
        """Return the hidden states float [P, K, T, X] after each of the tokens int64 [P, K, T] (teacher forcing).

        Where the token is ``<pad>`` the hidden state is undefined: a decoder may skip it.
        """

    def project(self, hidden: Tensor) -> Tensor:
        """Project hidden states float [..., X] to vocabulary logits float [..., V].

        Separate from `forward_hidden` so that padding is never projected.
        """
        logits: Tensor = self.output(self.dropout(hidden))
        return logits

    def forward(self, features: Features, tokens: Tensor) -> Tensor:
        """Return logits float32 [P, K, T, V] for tokens int64 [P, K, T]."""
        return self.project(self.forward_hidden(features, tokens)).float()


class RecurrentDecoder(BaseDecoder):
    """A decoder that reads one word after another: it defines `init_state` and `advance`.

    `forward_hidden` is the plain loop over `advance`. Decoders that train often override it with a kernel that
    computes the same faster.
    """

    @abstractmethod
    def advance(self, words: Tensor, state: Any) -> tuple[Tensor, Any, Tensor | None]:
        """Read one word vector per hypothesis, float [P, K, E].

        Return the hidden states float [P, K, X] that `project` takes, the new state, and the attention weights.
        """

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any, Tensor | None]:
        """Embed the tokens, `advance`, and `project`; see `BaseDecoder.step`."""
        hidden, state, attention = self.advance(self.dropout(self.word_embedding(tokens)), state)
        return self.project(hidden).float(), state, attention

    def forward_hidden(self, features: Features, tokens: Tensor) -> Tensor:
        """Return the hidden states float [P, K, T, X], by a loop over `advance`."""
        words = self.dropout(self.word_embedding(tokens))  # [P, K, T, E]
        state = self.init_state(features, tokens.shape[1])
        hidden_states = []
        for words_now in words.unbind(dim=2):
            hidden, state, _ = self.advance(words_now, state)
            hidden_states.append(hidden)
        return torch.stack(hidden_states, dim=2)


def check_regions(features: Features) -> None:
    """Raise ValueError for an image without a real region: its attention, a softmax over nothing, is NaN."""
    # An exported graph cannot branch on values; the encoders that feed it give every image a region.
    if not torch.compiler.is_exporting() and not bool(features.mask.any(dim=1).all()):
        raise ValueError("an image without a real region cannot be attended to")


def reorder_hypotheses(values: Tensor, beam_indices: Tensor) -> Tensor:
    """Gather ``values`` [P, K, ...] by ``beam_indices`` int64 [P, K'], each an index into K -> [P, K', ...]."""
    offsets = torch.arange(beam_indices.shape[0], device=beam_indices.device).unsqueeze(1) * values.shape[1]
    # index_select copies whole rows; torch.gather copies single numbers, several times as slow for wide states.
    rows = values.flatten(0, 1).index_select(0, (offsets + beam_indices).flatten())
    return rows.view(*beam_indices.shape, *values.shape[2:])
