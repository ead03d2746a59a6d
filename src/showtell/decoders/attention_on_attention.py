"""Attention on attention: what attention finds passes a gate that knows what was asked.

Huang, Wang, Chen, Wei, "Attention on Attention for Image Captioning" (2019). What attention with several heads finds,
f(Q, K, V), may have little to do with the query; so (equations 3 to 5)

    AoA(Q, K, V) = sigmoid(W_qg Q + W_vg f + b_g) * (W_qi Q + W_vi f + b_i).

Refining layers over the regions (equation 10), each with weights of its own:

    A <- LayerNorm(A + AoA(W_Q A, W_K A, W_V A))

and the decoder (section 3.2.2), which reads again what it has seen:

    x_t = [word_t, mean of A + c_{t-1}],  h_t = LSTM(x_t, h_{t-1}),  c_t = AoA(W_Q h_t, W_K A, W_V A),
    p_t = softmax(W_p c_t).

One refining layer, where the paper has six, unless more are asked for: so it has as many weights as other decoders.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from showtell.config.decoders import AttentionOnAttentionSpec
from showtell.decoders.base import BaseDecoder, check_regions
from showtell.decoders.state import DecoderState
from showtell.decoders.unroll import unroll
from showtell.encoders.features import Features
from showtell.kernels.dropout import Dropout
from showtell.kernels.lstm_step import lstm_update
from showtell.kernels.multihead_attention import attend, by_head, memory_by_head
from showtell.kernels.shared_linear import Linear, shared_linear


@dataclass(frozen=True)
class AttentionOnAttentionState(DecoderState):
    """Hidden and cell float [P, K, H], beside the memory that all hypotheses of a picture share.

    Attributes:
        context: What was found last, c_{t-1}, float [P, K, M].
        picture: The mean of the refined regions [P, M].
        keys: What queries are compared with [P, N, R, M/N], N heads.
        values: What they find [P, N, R, M/N].
        mask: Real regions, bool [P, R].
    """

    OF_HYPOTHESES = ("hidden", "cell", "context")

    hidden: Tensor
    cell: Tensor
    context: Tensor
    picture: Tensor
    keys: Tensor
    values: Tensor
    mask: Tensor


class AoARefiner(nn.Module):
    """Regions look at one another, and take in what passes the gate.

    Args:
        width: Of the regions, M.
        heads: That share it.
        dropout: Share of zeros in what is added.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query_proj, self.key_proj, self.value_proj = (
            nn.Linear(width, width, bias=False) for _ in range(3)
        )
        self.aoa_proj = nn.Linear(2 * width, 2 * width)
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, regions: Tensor, mask: Tensor) -> Tensor:
        """Return regions float [P, R, M] for regions float [P, R, M], of which bool [P, R] are real."""
        query = self.query_proj(regions)
        keys, values = (by_head(layer(regions), self.heads) for layer in (self.key_proj, self.value_proj))
        found, _ = attend(query, keys, values, mask[:, None, None])
        refined: Tensor = self.norm(
            regions + self.dropout(attention_on_attention(found, query, self.aoa_proj))
        )
        return refined


class AttentionOnAttentionDecoder(BaseDecoder):
    """The decoder named ``attention-on-attention``.

    Args:
        spec: Sizes and dropout.
        vocabulary: Number of tokens V.
        encoder_width: Width D of regions.
        pad_id: The token whose vector stays zero.
    """

    def __init__(
        self, spec: AttentionOnAttentionSpec, *, vocabulary: int, encoder_width: int, pad_id: int
    ) -> None:
        super().__init__()
        self.spec, self.pad_id = spec, pad_id
        self.word_embedding = nn.Embedding(vocabulary, spec.embedding, padding_idx=pad_id)
        self.region_proj = nn.Linear(encoder_width, spec.region_dim)
        self.refine_layers = nn.ModuleList(
            AoARefiner(spec.region_dim, spec.heads, spec.region_dropout) for _ in range(spec.refine_layers)
        )
        # The LSTM's input, by what it comes from.
        self.input_proj = nn.Linear(spec.embedding, 4 * spec.hidden)
        self.recurrent_proj = nn.Linear(spec.region_dim + spec.hidden, 4 * spec.hidden, bias=False)
        self.query_proj = nn.Linear(spec.hidden, spec.region_dim, bias=False)
        self.key_proj = nn.Linear(spec.region_dim, spec.region_dim, bias=False)
        self.value_proj = nn.Linear(spec.region_dim, spec.region_dim, bias=False)
        self.aoa_proj = nn.Linear(2 * spec.region_dim, 2 * spec.region_dim)
        self.output = nn.Linear(spec.region_dim, vocabulary)
        self.dropout = Dropout(spec.dropout)
        self.region_dropout = Dropout(spec.region_dropout)

    def init_state(self, features: Features, hypotheses: int) -> AttentionOnAttentionState:
        """Project and refine the regions once; K hypotheses start from zeros."""
        check_regions(features)
        regions = self.region_dropout(torch.relu(self.region_proj(features.regions)))  # [P, R, M]
        for refine in self.refine_layers:
            regions = refine(regions, features.mask)
        real = features.mask.unsqueeze(2)
        picture = regions.masked_fill(~real, 0).sum(dim=1) / real.sum(dim=1)
        pictures = features.pooled.shape[0]
        start = self.output.weight.new_zeros(pictures, hypotheses, self.spec.hidden)
        return AttentionOnAttentionState(
            hidden=start,
            cell=start,
            context=self.output.weight.new_zeros(pictures, hypotheses, self.spec.region_dim),
            picture=picture.to(regions.dtype),  # [P, M]
            keys=memory_by_head(self.key_proj(regions), self.spec.heads),  # [P, N, R, M/N]
            values=memory_by_head(self.value_proj(regions), self.spec.heads),
            mask=features.mask,
        )

    def step(
        self, tokens: Tensor, state: AttentionOnAttentionState
    ) -> tuple[Tensor, AttentionOnAttentionState, Tensor]:
        """Read tokens int64 [P, K]; return logits float32 [P, K, V], the new state, attention [P, K, R].

        The attention is the mean over the heads, before the gate.
        """
        words = self.dropout(self.word_embedding(tokens))  # [P, K, E]
        layers = (self.recurrent_proj, self.query_proj, self.aoa_proj)
        state, attention = self._advance(self.input_proj(words), state, layers)
        return self.project(state.context).float(), state, attention.mean(dim=1).float()

    def forward_hidden(self, features: Features, tokens: Tensor) -> Tensor:
        """Return c_t, float [P, K, T, M], for tokens int64 [P, K, T]."""
        words = self.dropout(self.word_embedding(tokens))  # [P, K, T, E]
        layers = (
            shared_linear(self.recurrent_proj),
            shared_linear(self.query_proj),
            shared_linear(self.aoa_proj),
        )

        def advance(
            gates: Tensor, state: AttentionOnAttentionState
        ) -> tuple[AttentionOnAttentionState, tuple[Tensor, ...]]:
            state, _ = self._advance(gates, state, layers)
            return state, (state.context,)

        state = self.init_state(features, tokens.shape[1])
        (context,) = unroll(self.input_proj(words), tokens, self.pad_id, state, advance)
        return context

    def _advance(
        self, gates: Tensor, state: AttentionOnAttentionState, layers: tuple[Linear, Linear, Linear]
    ) -> tuple[AttentionOnAttentionState, Tensor]:
        """Update the LSTM, then look; ``gates`` [P, K, 4H] is the word's part of its input.

        The layers are ``from_before``, ``query`` and ``on_attention``, or what computes the same. Beside the state
        comes the attention [P, N, K, R].
        """
        from_before, ask, on_attention = layers
        seen = state.picture.unsqueeze(1) + state.context
        gates = gates + from_before(torch.cat((seen, state.hidden), dim=-1).to(gates.dtype))
        hidden, cell = lstm_update(gates, state.cell)
        hidden = hidden.to(gates.dtype)
        query = ask(hidden)  # [P, K, M]
        found, attention = attend(query, state.keys, state.values, state.mask[:, None, None])
        context = attention_on_attention(found.to(query.dtype), query, on_attention)
        return replace(state, hidden=hidden, cell=cell, context=context), attention


def attention_on_attention(found: Tensor, query: Tensor, layer: Linear) -> Tensor:
    """Return AoA [..., M] of what attention found [..., M] for queries [..., M] (equations 3 to 5).

    The layer gives the information, then the gate, [..., 2M] for [..., 2M].
    """
    return functional.glu(layer(torch.cat((found, query), dim=-1)), dim=-1)
