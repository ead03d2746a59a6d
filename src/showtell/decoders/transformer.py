"""A small Transformer decoder: words attend to earlier words and to the regions; nothing is recurrent.

Vaswani et al., "Attention Is All You Need" (2017), section 3, with pre-norm layers and a final norm, which train
without a long warm-up (Xiong et al. 2020, "On Layer Normalization in the Transformer Architecture"). A layer is

    x = x + SelfAttention(LayerNorm(x))                             causal, section 3.2.3
    x = x + CrossAttention(LayerNorm(x), regions)                   section 3.2.3
    x = x + W_2 relu(W_1 LayerNorm(x))                              equation 2

and its input is the word vector plus a sinusoid of the position (section 3.5). Word vectors are initialized as large
as the sinusoids instead of being scaled by sqrt(H).

Under teacher forcing all words pass at once. When decoding, the state caches the keys and values of earlier words.

Shapes: P images, K hypotheses of each, T tokens, R regions, H width, N heads, L layers, M region width.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from showtell.config.decoders import TransformerSpec
from showtell.decoders.base import BaseDecoder, DecoderState, check_regions
from showtell.encoders.features import Features
from showtell.kernels.dropout import Dropout
from showtell.kernels.multihead_attention import attend, attend_cached, split_heads, split_heads_contiguous
from showtell.kernels.packed_lstm import PackedBatch

MAX_WAVELENGTH = 10_000.0
"""Of the positions' sinusoids, in units of 2 pi."""


@dataclass(frozen=True)
class TransformerState(DecoderState):
    """Keys and values of the T words so far for each hypothesis, and of the regions, which all hypotheses share."""

    PER_HYPOTHESIS = ("past",)

    past: Tensor  # self-attention's keys and values, layer by layer, float [P, K, N, T, 2L, H/N]
    keys: Tensor  # cross-attention's keys, float [P, N, R, L, H/N]
    values: Tensor  # cross-attention's values, float [P, N, R, L, H/N]
    mask: Tensor  # real regions, bool [P, R]


class TransformerLayer(nn.Module):
    """One layer; the caller provides both attentions, which differ between training and decoding."""

    def __init__(self, spec: TransformerSpec) -> None:
        super().__init__()
        width = spec.hidden
        # No bias of queries, keys and values: the softmax cancels that of keys, later layers have their own.
        self.self_attn_norm = nn.LayerNorm(width)
        self.self_attn_qkv = nn.Linear(width, 3 * width, bias=False)
        self.self_attn_out = nn.Linear(width, width)
        self.cross_attn_norm = nn.LayerNorm(width)
        self.cross_attn_q = nn.Linear(width, width, bias=False)
        self.cross_attn_out = nn.Linear(width, width)
        self.ffn_norm = nn.LayerNorm(width)
        self.ffn_in = nn.Linear(width, spec.feed_forward)
        self.ffn_out = nn.Linear(spec.feed_forward, width)
        self.dropout = Dropout(spec.dropout)

    def forward(
        self,
        x: Tensor,
        self_attend: Callable[[Tensor, Tensor, Tensor], Tensor],
        cross_attend: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Return float [X, H] for X words float [X, H]; both attentions return contexts [X, H].

        ``self_attend`` takes queries, keys and values [X, H], ``cross_attend`` queries.
        """
        query, key, value = self.self_attn_qkv(self.self_attn_norm(x)).chunk(3, dim=-1)
        x = x + self.dropout(self.self_attn_out(self_attend(query, key, value)))
        x = x + self.dropout(self.cross_attn_out(cross_attend(self.cross_attn_q(self.cross_attn_norm(x)))))
        output: Tensor = x + self.dropout(self.ffn_out(torch.relu(self.ffn_in(self.ffn_norm(x)))))
        return output


class TransformerDecoder(BaseDecoder):
    """The decoder named ``transformer``."""

    def __init__(self, spec: TransformerSpec, *, vocabulary: int, encoder_width: int, pad_id: int) -> None:
        super().__init__()
        self.spec, self.pad_id = spec, pad_id
        self.word_embedding = nn.Embedding(vocabulary, spec.hidden, padding_idx=pad_id)
        self.region_proj = nn.Linear(encoder_width, spec.region_dim)
        # Keys and values of all layers at once.
        self.key_proj = nn.Linear(spec.region_dim, spec.layers * spec.hidden, bias=False)
        self.value_proj = nn.Linear(spec.region_dim, spec.layers * spec.hidden, bias=False)
        self.layers = nn.ModuleList(TransformerLayer(spec) for _ in range(spec.layers))
        self.final_norm = nn.LayerNorm(spec.hidden)
        self.output = nn.Linear(spec.hidden, vocabulary)
        self.dropout = Dropout(spec.dropout)
        self.region_dropout = Dropout(spec.region_dropout)

    def init_state(self, features: Features, num_hypotheses: int) -> TransformerState:
        """Project the regions once for all layers; K hypotheses have no words yet."""
        check_regions(features)
        regions = self.region_dropout(torch.relu(self.region_proj(features.regions)))  # [P, R, M]
        # Layers come after the regions, so that one layer's keys are multiplied without a copy.
        keys, values = (
            split_heads_contiguous(proj(regions), self.spec.heads)  # [P, N, R, L*H/N]
            for proj in (self.key_proj, self.value_proj)
        )
        keys, values = (part.view(*part.shape[:3], self.spec.layers, -1) for part in (keys, values))
        size = (keys.shape[0], num_hypotheses, self.spec.heads, 0, 2 * self.spec.layers, keys.shape[-1])
        return TransformerState(keys.new_zeros(size), keys, values, features.mask)

    def step(self, tokens: Tensor, state: TransformerState) -> tuple[Tensor, TransformerState, Tensor]:
        """See `BaseDecoder.step`; the attention is the mean over the heads of the last layer."""
        positions = sinusoidal_positions(state.past.shape[3] + 1, self.word_embedding.weight)
        x = self.dropout(self.word_embedding(tokens) + positions[-1]).flatten(0, 1)  # [P*K, H]
        new: list[Tensor] = []
        attentions: list[Tensor] = []

        def self_attend(number: int, *qkv: Tensor) -> Tensor:
            query, key, value = (part.view(*tokens.shape, self.spec.heads, 1, -1) for part in qkv)
            new.extend((key, value))
            past = state.past[..., 2 * number : 2 * number + 2, :]
            return attend_cached(query, past, key, value).flatten(2).flatten(0, 1)

        def cross_attend(number: int, query: Tensor) -> Tensor:
            context, attention = self._cross_attend(number, query.view(*tokens.shape, -1), state)
            attentions.append(attention)  # [P, N, K, R]
            return context.flatten(0, 1)

        for number, layer in enumerate(self.layers):
            x = layer(x, partial(self_attend, number), partial(cross_attend, number))
        logits = self.project(self.final_norm(x).view(*tokens.shape, -1)).float()
        past = torch.cat((state.past, torch.stack(new, dim=4)), dim=3)
        return logits, replace(state, past=past), attentions[-1].mean(dim=1).float()

    def forward_hidden(self, features: Features, tokens: Tensor) -> Tensor:
        """Return the normalized output of the last layer, float [P, K, T, H], for tokens int64 [P, K, T]."""
        length = tokens.shape[2]
        state = self.init_state(features, tokens.shape[1])
        batch = PackedBatch.of(tokens, self.pad_id)  # X tokens that are not padding
        positions = sinusoidal_positions(length, self.word_embedding.weight)  # [T, H]
        positions = positions[batch.positions.remainder(length)]
        x = self.dropout(self.word_embedding(batch.pack(tokens)) + positions)  # [X, H]
        causal = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()

        def self_attend(*qkv: Tensor) -> Tensor:
            query, key, value = (batch.unpack(part).flatten(0, 1) for part in qkv)  # [P*K, T, H]
            keys, values = (split_heads(part, self.spec.heads) for part in (key, value))
            context, _ = attend(query, keys, values, causal)
            return batch.pack(context.view(*tokens.shape, -1))

        def cross_attend(number: int, query: Tensor) -> Tensor:
            context, _ = self._cross_attend(number, batch.unpack(query).flatten(1, 2), state)  # [P, K*T, H]
            return batch.pack(context.view(*tokens.shape, -1))

        for number, layer in enumerate(self.layers):
            x = layer(x, self_attend, partial(cross_attend, number))
        return batch.unpack(self.final_norm(x))

    def _cross_attend(self, number: int, query: Tensor, state: TransformerState) -> tuple[Tensor, Tensor]:
        """Attend to the regions with queries [P, X, H] of a layer -> context [P, X, H], attention [P, N, X, R]."""
        keys, values = state.keys[..., number, :], state.values[..., number, :]
        return attend(query, keys, values, state.mask[:, None, None])


def sinusoidal_positions(count: int, like: Tensor) -> Tensor:
    """Return the encodings of the first positions [count, H], in the dtype and on the device of ``like`` [..., H].

    Sines, then cosines, of wavelengths from 2 pi to 10,000 times that (section 3.5; the paper's alternate, which is
    the same to the layers that read them).
    """
    width = like.shape[-1]
    half = (width + 1) // 2
    channels = torch.arange(half, dtype=like.dtype, device=like.device)
    rates = torch.pow(MAX_WAVELENGTH, -channels / half)
    angles = torch.arange(count, dtype=like.dtype, device=like.device).unsqueeze(1) * rates  # [count, half]
    return torch.cat((angles.sin(), angles.cos()), dim=1)[:, :width]
