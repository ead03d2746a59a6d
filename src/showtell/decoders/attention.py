"""Show, attend and tell: before every word the decoder looks at the regions that matter for it.

Xu et al., "Show, Attend and Tell" (2015): additive soft attention (equations 4 to 6 and 13), the gate beta
(section 4.2.1), deep output (equation 7), initial state from the picture as a whole (section 3.1.2). One change:
regions are projected to the ``memory`` width first (linear, ReLU, dropout), which costs less and overfits less
than attending to the encoder's own 2,048 channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from showtell.config.decoders import AttentionSpec
from showtell.decoders.base import BaseDecoder, check_regions
from showtell.decoders.state import DecoderState
from showtell.encoders.features import Features
from showtell.kernels.additive_attention import additive_energy
from showtell.kernels.attention_lstm import AttentionInputs, AttentionLstmWeights, attention_lstm
from showtell.kernels.dropout import Dropout
from showtell.kernels.packed_lstm import PackedBatch


@dataclass(frozen=True)
class AttentionState(DecoderState):
    """Hidden and cell float [P, K, H], beside the memory that all hypotheses of a picture share.

    Attributes:
        values: Projected regions [P, R, M].
        keys: Their part of the attention's hidden layer [P, R, A].
        mask: Real regions, bool [P, R].
    """

    OF_HYPOTHESES = ("hidden", "cell")

    hidden: Tensor
    cell: Tensor
    values: Tensor
    keys: Tensor
    mask: Tensor


class AttentionDecoder(BaseDecoder):
    """The decoder named ``attention``.

    Args:
        spec: Sizes and dropout.
        vocabulary: Number of tokens V.
        encoder_width: Width D of regions and pooled vector.
        pad_id: The token whose vector stays zero.
    """

    def __init__(self, spec: AttentionSpec, *, vocabulary: int, encoder_width: int, pad_id: int) -> None:
        super().__init__()
        self.spec, self.pad_id = spec, pad_id
        self.region_proj = nn.Linear(encoder_width, spec.region_dim)
        self.init_proj = nn.Linear(encoder_width, 2 * spec.hidden)
        self.word_embedding = nn.Embedding(vocabulary, spec.embedding, padding_idx=pad_id)
        self.key_proj = nn.Linear(spec.region_dim, spec.attention)
        self.query_proj = nn.Linear(spec.hidden, spec.attention, bias=False)
        # No bias: the softmax would cancel it, and its gradient would be zero for ever.
        self.energy = nn.Linear(spec.attention, 1, bias=False)
        self.context_gate = nn.Linear(spec.hidden, spec.region_dim)
        self.input_proj = nn.Linear(spec.embedding, 4 * spec.hidden)
        self.context_proj = nn.Linear(spec.region_dim + spec.hidden, 4 * spec.hidden, bias=False)
        self.deep_output = nn.Linear(spec.hidden + spec.region_dim, spec.embedding)
        self.output = nn.Linear(spec.embedding, vocabulary)
        self.dropout = Dropout(spec.dropout)
        self.region_dropout = Dropout(spec.region_dropout)

    def init_state(self, features: Features, hypotheses: int) -> AttentionState:
        """Project the regions once and start K hypotheses from the picture as a whole."""
        check_regions(features)
        values = self.region_dropout(torch.relu(self.region_proj(features.regions)))  # [P, R, M]
        hidden, cell = torch.tanh(self.init_proj(features.pooled)).chunk(2, dim=-1)  # [P, H]
        return AttentionState(
            hidden=hidden.unsqueeze(1).expand(-1, hypotheses, -1),  # [P, K, H]
            cell=cell.float().unsqueeze(1).expand(-1, hypotheses, -1),
            values=values,
            keys=self.key_proj(values),  # [P, R, A]
            mask=features.mask,
        )

    def step(self, tokens: Tensor, state: AttentionState) -> tuple[Tensor, AttentionState, Tensor]:
        """Read tokens int64 [P, K]; return logits float32 [P, K, V], the new state, attention [P, K, R]."""
        words = self.dropout(self.word_embedding(tokens))  # [P, K, E]
        state, context, attention = self._advance(self.input_proj(words), state)
        return self.project(self._join(words, state.hidden, context)).float(), state, attention

    def forward_hidden(self, features: Features, tokens: Tensor) -> Tensor:
        """Return the deep output layer's float [P, K, T, E] for tokens int64 [P, K, T], zero for padding."""
        pictures, hypotheses, length = tokens.shape
        state = self.init_state(features, hypotheses)
        sentences = PackedBatch.of(tokens.flatten(0, 1), self.pad_id)  # N tokens
        words = self.dropout(
            self.word_embedding(sentences.pack(tokens.view(-1, length, 1)).squeeze(1))
        )  # [N, E]
        gates_of_sight, gates_of_hidden = torch.split(
            self.context_proj.weight, [self.spec.region_dim, self.spec.hidden], dim=1
        )
        weights = AttentionLstmWeights(
            hidden=torch.cat((self.query_proj.weight, self.context_gate.weight, gates_of_hidden)),
            gate=self.context_gate.bias,
            seen=gates_of_sight,
            energy=self.energy.weight.squeeze(0),
        )
        before = state.hidden.flatten(0, 1), state.cell.flatten(0, 1)
        sight = AttentionInputs(state.values, state.keys, state.mask)
        hidden, context = attention_lstm(self.input_proj(words), sentences, before, sight, weights)
        return sentences.unpack(self._join(words, hidden, context)).view(pictures, hypotheses, length, -1)

    def _advance(self, gates: Tensor, state: AttentionState) -> tuple[AttentionState, Tensor, Tensor]:
        """Look, then update the LSTM; ``gates`` [P, K, 4H] is the word's part of its input.

        `showtell.kernels.attention_lstm` is the same for whole sentences, with its gradients.
        """
        query = self.query_proj(state.hidden)
        energy = additive_energy(state.keys, query, self.energy.weight.squeeze(0))  # [P, K, R]
        energy = energy.masked_fill(~state.mask.unsqueeze(1), float("-inf"))
        attention = energy.softmax(dim=2)
        context = torch.bmm(attention.to(state.values.dtype), state.values)  # [P, K, M]
        context = torch.sigmoid(self.context_gate(state.hidden)) * context
        gates = gates + self.context_proj(torch.cat((context, state.hidden), dim=-1))
        keep, write, expose, content = gates.float().chunk(4, dim=-1)  # [P, K, H]
        cell = torch.sigmoid(keep) * state.cell + torch.sigmoid(write) * torch.tanh(content)
        hidden = (torch.sigmoid(expose) * torch.tanh(cell)).to(gates.dtype)
        return replace(state, hidden=hidden, cell=cell), context, attention.float()

    def _join(self, words: Tensor, hidden: Tensor, context: Tensor) -> Tensor:
        """Return the deep output layer's [..., E] for a word, what is remembered and what is seen."""
        return torch.tanh(words + self.deep_output(torch.cat((hidden, context), dim=-1)))
