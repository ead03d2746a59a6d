"""A small Transformer: each word looks at the words before it, then at the regions; nothing is recurrent.

Vaswani et al., "Attention Is All You Need" (2017), section 3: layers of causal self-attention, attention over the
regions and a feed-forward part, sinusoids for positions (section 3.5). Two changes: each part normalises what it
reads and not what it leaves, with one norm at the end, which trains without a long warm-up (Xiong et al. 2020, "On
Layer Normalization in the Transformer Architecture"); and word vectors are drawn as wide as the sinusoids instead of
being scaled up. Under teacher forcing all words pass at once; step by step, what earlier words left to be looked at
is kept in the state, which grows by a word a step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from showtell.config.decoders import TransformerSpec
from showtell.decoders.base import BaseDecoder, check_regions
from showtell.decoders.state import DecoderState
from showtell.encoders.features import Features
from showtell.kernels.dropout import Dropout
from showtell.kernels.multihead_attention import attend, by_head, memory_by_head
from showtell.kernels.packed_lstm import PackedBatch

LONGEST_WAVE = 10_000.0


@dataclass(frozen=True)
class TransformerState(DecoderState):
    """What earlier words left, beside the memory that all hypotheses of a picture share.

    Attributes:
        past: Keys and values of T words, of one layer after another, float [P, K, N, T, 2L, H/N], N heads, L layers.
        keys: What queries about regions are compared with [P, N, R, L, H/N].
        values: What they find [P, N, R, L, H/N].
        mask: Real regions, bool [P, R].
    """

    OF_HYPOTHESES = ("past",)

    past: Tensor
    keys: Tensor
    values: Tensor
    mask: Tensor


class Layer(nn.Module):
    """The weights of one layer, in the order in which they are used; whoever looks brings what there is to see.

    Args:
        spec: Sizes and dropout.
    """

    def __init__(self, spec: TransformerSpec) -> None:
        super().__init__()
        width = spec.hidden
        # No biases before a look: the softmax cancels that of keys, and what follows has its own.
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

    def about_words(self, held: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries about words, and the keys and values of these words, [N, H] each, of float [N, H]."""
        query, key, value = self.self_attn_qkv(self.self_attn_norm(held)).chunk(3, dim=-1)
        return query, key, value

    def about_regions(self, held: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
        """Take in what was found among words; return it all, and the queries about regions, float [N, H] each."""
        held = held + self.dropout(self.self_attn_out(found))
        return held, self.cross_attn_q(self.cross_attn_norm(held))

    def think(self, held: Tensor, found: Tensor) -> Tensor:
        """Take in what was found among regions, and what follows from it; return it all, float [N, H]."""
        held = held + self.dropout(self.cross_attn_out(found))
        thought: Tensor = self.ffn_out(torch.relu(self.ffn_in(self.ffn_norm(held))))
        thought = self.dropout(thought)
        return held + thought


class TransformerDecoder(BaseDecoder):
    """The decoder named ``transformer``.

    Args:
        spec: Sizes and dropout.
        vocabulary: Number of tokens V.
        encoder_width: Width D of regions.
        pad_id: The token whose vector stays zero.
    """

    def __init__(self, spec: TransformerSpec, *, vocabulary: int, encoder_width: int, pad_id: int) -> None:
        super().__init__()
        self.spec, self.pad_id = spec, pad_id
        self.word_embedding = nn.Embedding(vocabulary, spec.hidden, padding_idx=pad_id)
        self.region_proj = nn.Linear(encoder_width, spec.region_dim)
        # Those of all layers at once.
        self.key_proj = nn.Linear(spec.region_dim, spec.layers * spec.hidden, bias=False)
        self.value_proj = nn.Linear(spec.region_dim, spec.layers * spec.hidden, bias=False)
        self.layers = nn.ModuleList(Layer(spec) for _ in range(spec.layers))
        self.final_norm = nn.LayerNorm(spec.hidden)
        self.output = nn.Linear(spec.hidden, vocabulary)
        self.dropout = Dropout(spec.dropout)
        self.region_dropout = Dropout(spec.region_dropout)

    def init_state(self, features: Features, hypotheses: int) -> TransformerState:
        """Project the regions once, for all layers; K hypotheses have no words yet."""
        check_regions(features)
        regions = self.region_dropout(torch.relu(self.region_proj(features.regions)))  # [P, R, M]
        # Layers stand behind the regions, so that what one layer looks at can be multiplied without a copy.
        keys, values = (
            memory_by_head(layer(regions), self.spec.heads)  # [P, N, R, L*H/N]
            for layer in (self.key_proj, self.value_proj)
        )
        keys, values = (part.view(*part.shape[:3], self.spec.layers, -1) for part in (keys, values))
        size = (keys.shape[0], hypotheses, self.spec.heads, 0, 2 * self.spec.layers, keys.shape[-1])
        return TransformerState(keys.new_zeros(size), keys, values, features.mask)

    def step(self, tokens: Tensor, state: TransformerState) -> tuple[Tensor, TransformerState, Tensor]:
        """Read tokens int64 [P, K]; return logits float32 [P, K, V], the new state, attention [P, K, R].

        The attention is the mean over the heads of the last layer.
        """
        pictures, hypotheses = tokens.shape
        place = sinusoidal_positions(state.past.shape[3] + 1, self.spec.hidden, self.word_embedding.weight)[
            -1
        ]
        held = self.dropout(self.word_embedding(tokens) + place).flatten(0, 1)  # [P*K, H]
        new, attentions = [], []
        word = (pictures, hypotheses, self.spec.heads, 1, -1)
        for number, layer in enumerate(self._layers):
            asked, key, value = (part.view(word) for part in layer.about_words(held))
            found = _cached_self_attention(asked, state.past[..., 2 * number : 2 * number + 2, :], key, value)
            held, asked = layer.about_regions(held, found.flatten(2).flatten(0, 1))
            found, attention = self._look(asked.view(pictures, hypotheses, -1), state, number)
            held = layer.think(held, found.flatten(0, 1))
            new += [key, value]
            attentions.append(attention)
        logits = self.project(self.final_norm(held).view(pictures, hypotheses, -1)).float()
        past = torch.cat((state.past, torch.stack(new, dim=4)), dim=3)
        return logits, replace(state, past=past), attentions[-1].mean(dim=1).float()

    def forward_hidden(self, features: Features, tokens: Tensor) -> Tensor:
        """Return what the last layer leaves, normalised, float [P, K, T, H], for tokens int64 [P, K, T]."""
        pictures, hypotheses, length = tokens.shape
        state = self.init_state(features, hypotheses)
        sentences = PackedBatch.of(tokens.flatten(0, 1), self.pad_id)  # N tokens
        places = sinusoidal_positions(length, self.spec.hidden, self.word_embedding.weight)  # [T, H]
        words = self.word_embedding(sentences.pack(tokens.view(-1, length, 1)).squeeze(1))
        held = self.dropout(words + places[sentences.places.remainder(length)])  # [N, H]
        earlier = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
        for number, layer in enumerate(self._layers):
            asked, keys, values = (sentences.unpack(part) for part in layer.about_words(held))  # [P*K, T, H]
            keys, values = (by_head(part, self.spec.heads) for part in (keys, values))
            found, _ = attend(asked, keys, values, earlier)
            held, asked = layer.about_regions(held, sentences.pack(found))
            asked = sentences.unpack(asked).view(pictures, hypotheses * length, -1)
            found, _ = self._look(asked, state, number)
            held = layer.think(held, sentences.pack(found.reshape(-1, length, self.spec.hidden)))
        return sentences.unpack(self.final_norm(held)).view(pictures, hypotheses, length, -1)

    @property
    def _layers(self) -> list[Layer]:
        return [cast(Layer, layer) for layer in self.layers]

    def _look(self, asked: Tensor, state: TransformerState, number: int) -> tuple[Tensor, Tensor]:
        """Ask the regions in one layer [P, X, H] -> what was found [P, X, H], attention [P, N, X, R]."""
        keys, values = (part[..., number, :] for part in (state.keys, state.values))  # [P, N, R, H/N]
        return attend(asked, keys, values, state.mask[:, None, None])


def _cached_self_attention(asked: Tensor, past: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return what queries [P, K, N, 1, H/N] find among earlier words and the one that asks, of the same shape.

    The same as `attend` with the new key and value, of that shape too, behind those of ``past`` [P, K, N, T, 2, H/N];
    but joined once for all layers, so that earlier words are copied once a step.
    """
    keys, values = past.unbind(dim=4)  # [P, K, N, T, H/N]
    energy = torch.cat((asked @ keys.transpose(3, 4), asked @ key.transpose(3, 4)), dim=4)
    energy = energy.to(torch.promote_types(energy.dtype, torch.float32)) / math.sqrt(asked.shape[4])
    attention = energy.softmax(dim=4).to(value.dtype)  # [P, K, N, 1, T + 1]
    return attention[..., :-1] @ values + attention[..., -1:] * value


def sinusoidal_positions(count: int, width: int, like: Tensor) -> Tensor:
    """Return what marks the first positions [count, width], in type and on the device of ``like``.

    Sines, then cosines, of wavelengths from 2 pi to 10,000 times that (Vaswani et al. 2017, section 3.5; theirs
    alternate, which is the same to every layer that reads them).
    """
    half = (width + 1) // 2
    waves = torch.arange(half, dtype=like.dtype, device=like.device)
    rates = torch.pow(LONGEST_WAVE, -waves / half)
    angles = torch.arange(count, dtype=like.dtype, device=like.device).unsqueeze(1) * rates  # [count, half]
    return torch.cat((angles.sin(), angles.cos()), dim=1)[:, :width]
