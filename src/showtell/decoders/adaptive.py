"""Knowing when to look: before every word the decoder weighs what it sees against what it knows.

Lu, Xiong, Parikh, Socher, "Knowing When to Look: Adaptive Attention via A Visual Sentinel for Image Captioning"
(2017). The LSTM reads x_t, a word beside the picture as a whole (section 2.3); what it then holds asks the regions V:

    z_t = w_h . tanh(W_v V + W_g h_t)                                   (equation 6)
    g_t = sigmoid(W_x x_t + W_h h_{t-1})                                (equation 9)
    s_t = g_t * tanh(m_t), the sentinel, of the LSTM's cell             (equation 10)
    [alpha'_t; beta_t] = softmax([z_t; w_h . tanh(W_s s_t + W_g h_t)])  (equation 12)
    c_t = sum of alpha'_t V + beta_t s_t                                (equations 8 and 11)
    p_t = softmax(W_p (c_t + h_t))                                      (equation 13)

Nothing that is seen is read again, so under teacher forcing each part is one call over whole sentences. Two changes:
the attention's hidden layer has a width of its own (the paper's is the number of regions), and the LSTM starts from
zeros.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from showtell.config.decoders import AdaptiveSpec
from showtell.decoders.base import BaseDecoder, check_regions
from showtell.decoders.state import DecoderState
from showtell.encoders.features import Features
from showtell.kernels.additive_attention import additive_energy
from showtell.kernels.dropout import Dropout
from showtell.kernels.lstm_step import StepLstm
from showtell.kernels.packed_lstm import PackedBatch, packed_lstm_with_cells


@dataclass(frozen=True)
class AdaptiveState(DecoderState):
    """Hidden and cell float [P, K, H], beside the memory that all hypotheses of a picture share.

    Attributes:
        picture: The picture as a whole, projected [P, E].
        values: Projected regions [P, R, H].
        keys: Their part of the attention's hidden layer [P, R, A].
        mask: Real regions, bool [P, R].
    """

    OF_HYPOTHESES = ("hidden", "cell")

    hidden: Tensor
    cell: Tensor
    picture: Tensor
    values: Tensor
    keys: Tensor
    mask: Tensor


class AdaptiveDecoder(BaseDecoder):
    """The decoder named ``adaptive``.

    Args:
        spec: Sizes and dropout.
        vocabulary: Number of tokens V.
        encoder_width: Width D of regions and pooled vector.
        pad_id: The token whose vector stays zero.
    """

    def __init__(self, spec: AdaptiveSpec, *, vocabulary: int, encoder_width: int, pad_id: int) -> None:
        super().__init__()
        self.spec, self.pad_id = spec, pad_id
        self.word_embedding = nn.Embedding(vocabulary, spec.embedding, padding_idx=pad_id)
        self.image_proj = nn.Linear(encoder_width, spec.embedding)
        self.region_proj = nn.Linear(encoder_width, spec.hidden)
        self.lstm = StepLstm(2 * spec.embedding, spec.hidden)
        self.sentinel_gate = nn.Linear(2 * spec.embedding + spec.hidden, spec.hidden)
        self.key_proj = nn.Linear(spec.hidden, spec.attention)
        self.sentinel_key_proj = nn.Linear(spec.hidden, spec.attention)
        self.query_proj = nn.Linear(spec.hidden, spec.attention, bias=False)
        # No bias: the softmax would cancel it, and its gradient would be zero for ever.
        self.energy = nn.Linear(spec.attention, 1, bias=False)
        self.output = nn.Linear(spec.hidden, vocabulary)
        self.dropout = Dropout(spec.dropout)
        self.region_dropout = Dropout(spec.region_dropout)

    def init_state(self, features: Features, hypotheses: int) -> AdaptiveState:
        """Project the regions once; K hypotheses start from zeros."""
        check_regions(features)
        values = self.region_dropout(torch.relu(self.region_proj(features.regions)))  # [P, R, H]
        start = self.output.weight.new_zeros(features.pooled.shape[0], hypotheses, self.spec.hidden)
        return AdaptiveState(
            hidden=start,
            cell=start,
            picture=self.dropout(torch.relu(self.image_proj(features.pooled))),  # [P, E]
            values=values,
            keys=self.key_proj(values),  # [P, R, A]
            mask=features.mask,
        )

    def step(self, tokens: Tensor, state: AdaptiveState) -> tuple[Tensor, AdaptiveState, Tensor]:
        """Read tokens int64 [P, K]; return logits float32 [P, K, V], the new state, attention [P, K, R].

        The attention is the paper's alpha (equation 7): how looking is shared out among the regions, whatever part
        of the word comes from the sentinel.
        """
        pictures, hypotheses = tokens.shape
        words = self.dropout(self.word_embedding(tokens))  # [P, K, E]
        picture = state.picture.unsqueeze(1).expand(-1, hypotheses, -1)
        heard = torch.cat((words.to(picture.dtype), picture), dim=-1).flatten(0, 1)  # [P*K, 2E]
        before = state.hidden.flatten(0, 1)
        hidden, cell = self.lstm.step(heard, before, state.cell.flatten(0, 1))
        sentinel = self._sentinel(heard, before, cell)
        hidden, cell, sentinel = (
            part.view(pictures, hypotheses, -1) for part in (hidden, cell, sentinel.to(hidden.dtype))
        )
        seen, energy, _ = self._look(hidden, sentinel, state)
        state = replace(state, hidden=hidden, cell=cell)
        return self.project(hidden + seen).float(), state, energy.softmax(dim=2).float()

    def forward_hidden(self, features: Features, tokens: Tensor) -> Tensor:
        """Return c_t + h_t, float [P, K, T, H], for tokens int64 [P, K, T]."""
        pictures, hypotheses, length = tokens.shape
        state = self.init_state(features, hypotheses)
        sentences = PackedBatch.of(tokens.flatten(0, 1), self.pad_id)  # N tokens
        words = self.dropout(
            self.word_embedding(sentences.pack(tokens.view(-1, length, 1)).squeeze(1))
        )  # [N, E]
        picture = state.picture[sentences.rows.div(hypotheses, rounding_mode="floor")]
        heard = torch.cat((words.to(picture.dtype), picture), dim=1)  # [N, 2E]
        packed, cell = packed_lstm_with_cells(self.lstm, heard, sentences)
        hidden = sentences.unpack(packed)  # [P*K, T, H]
        before = sentences.pack(functional.pad(hidden, (0, 0, 1, -1)))
        sentinel = sentences.unpack(self._sentinel(heard, before, cell).to(hidden.dtype))
        asked, known = (part.view(pictures, hypotheses * length, -1) for part in (hidden, sentinel))
        seen, _, _ = self._look(asked, known, state)
        return (asked + seen).view(pictures, hypotheses, length, -1)

    def _sentinel(self, heard: Tensor, before: Tensor, cell: Tensor) -> Tensor:
        """Return s_t [N, H] of what was read [N, 2E], h_{t-1} [N, H] and m_t [N, H]."""
        gate = self.sentinel_gate(torch.cat((heard, before.to(heard.dtype)), dim=1))
        return torch.sigmoid(gate).to(cell.dtype) * torch.tanh(cell)

    def _look(self, hidden: Tensor, sentinel: Tensor, state: AdaptiveState) -> tuple[Tensor, Tensor, Tensor]:
        """Ask regions and sentinel with h_t [P, X, H]; return c_t [P, X, H], z_t [P, X, R], beta_t [P, X, 1]."""
        asked, column = self.query_proj(hidden), self.energy.weight.squeeze(0)
        energy = additive_energy(state.keys, asked, column)  # [P, X, R]
        known = self.energy(torch.tanh(self.sentinel_key_proj(sentinel) + asked))  # [P, X, 1]
        energy = energy.masked_fill(~state.mask.unsqueeze(1), float("-inf"))
        shares = torch.cat((energy, known.to(energy.dtype)), dim=2).softmax(dim=2)
        looking, share = shares[..., :-1], shares[..., -1:]
        seen = torch.bmm(looking.to(state.values.dtype), state.values)
        found = seen + (share * sentinel).to(seen.dtype)
        return found.to(hidden.dtype), energy, share
