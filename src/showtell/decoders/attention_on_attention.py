"""Attention on attention: a gate, which depends on the query, filters what attention returns.

Huang, Wang, Chen, Wei, "Attention on Attention for Image Captioning" (2019). The result of multi-head attention
f(Q, K, V) may have little to do with the query; so (equations 3 to 5)

    AoA(Q, K, V) = sigmoid(W_qg Q + W_vg f + b_g) * (W_qi Q + W_vi f + b_i)

Refining layers let the regions A attend to each other (equation 10), each with weights of its own:

    A <- LayerNorm(A + AoA(W_Q A, W_K A, W_V A))

The decoder (section 3.2.2) feeds the context c_{t-1} back to the LSTM:

    x_t = [word_t, mean(A) + c_{t-1}]
    h_t = LSTM(x_t, h_{t-1})
    c_t = AoA(W_Q h_t, W_K A, W_V A)
    p_t = softmax(W_p c_t)

By default there is one refining layer (six in the paper), so that it has about as many weights as other decoders.

Shapes: P images, K hypotheses of each, R regions, E word width, H LSTM width, M region width, N heads.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from showtell.config.decoders import AttentionOnAttentionSpec
from showtell.decoders.base import DecoderState, RecurrentDecoder, check_regions
from showtell.encoders.features import Features
from showtell.kernels.dropout import Dropout
from showtell.kernels.lstm_cell import lstm_update
from showtell.kernels.multihead_attention import attend, split_heads, split_heads_contiguous


@dataclass(frozen=True)
class AttentionOnAttentionState(DecoderState):
    """The LSTM's state and context of each hypothesis, and the image, which all hypotheses share."""

    PER_HYPOTHESIS = ("hidden", "cell", "context")

    hidden: Tensor  # h_t, float [P, K, H]
    cell: Tensor  # float [P, K, H]
    context: Tensor  # c_t, float [P, K, M]
    image: Tensor  # mean(A), float [P, M]
    keys: Tensor  # W_K A, float [P, N, R, M/N]
    values: Tensor  # W_V A, float [P, N, R, M/N]
    mask: Tensor  # real regions, bool [P, R]


def attention_on_attention(context: Tensor, query: Tensor, aoa_proj: nn.Module) -> Tensor:
    """Return AoA [..., M] of an attention's context f [..., M] for queries Q [..., M] (equations 3 to 5).

    ``aoa_proj`` maps both together, [..., 2M], to the information and its gate.
    """
    return functional.glu(aoa_proj(torch.cat((context.to(query.dtype), query), dim=-1)), dim=-1)


class AoARefiner(nn.Module):
    """A layer in which regions of width M attend to each other (equation 10), with dropout of what is added."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query_proj = nn.Linear(width, width, bias=False)
        self.key_proj = nn.Linear(width, width, bias=False)
        self.value_proj = nn.Linear(width, width, bias=False)
        self.aoa_proj = nn.Linear(2 * width, 2 * width)
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, regions: Tensor, mask: Tensor) -> Tensor:
        """Return refined regions float [P, R, M] for regions float [P, R, M], of which bool [P, R] are real."""
        query = self.query_proj(regions)
        keys = split_heads(self.key_proj(regions), self.heads)
        values = split_heads(self.value_proj(regions), self.heads)
        context, _ = attend(query, keys, values, mask[:, None, None])
        change = attention_on_attention(context, query, self.aoa_proj)
        refined: Tensor = self.norm(regions + self.dropout(change))
        return refined


class AttentionOnAttentionDecoder(RecurrentDecoder):
    """The decoder named ``attention-on-attention``."""

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
        # The LSTM's gates, by input: the word; mean(A) + c_{t-1} and h_{t-1}.
        self.input_proj = nn.Linear(spec.embedding, 4 * spec.hidden)
        self.recurrent_proj = nn.Linear(spec.region_dim + spec.hidden, 4 * spec.hidden, bias=False)
        self.query_proj = nn.Linear(spec.hidden, spec.region_dim, bias=False)
        self.key_proj = nn.Linear(spec.region_dim, spec.region_dim, bias=False)
        self.value_proj = nn.Linear(spec.region_dim, spec.region_dim, bias=False)
        self.aoa_proj = nn.Linear(2 * spec.region_dim, 2 * spec.region_dim)
        self.output = nn.Linear(spec.region_dim, vocabulary)
        self.dropout = Dropout(spec.dropout)
        self.region_dropout = Dropout(spec.region_dropout)

    def init_state(self, features: Features, num_hypotheses: int) -> AttentionOnAttentionState:
        """Project and refine the regions once; the LSTM starts from zeros."""
        check_regions(features)
        regions = self.region_dropout(torch.relu(self.region_proj(features.regions)))  # [P, R, M]
        for refine in self.refine_layers:
            regions = refine(regions, features.mask)
        real = features.mask.unsqueeze(2)
        image = regions.masked_fill(~real, 0).sum(dim=1) / real.sum(dim=1)  # [P, M]
        zeros = self.output.weight.new_zeros(regions.shape[0], num_hypotheses, self.spec.hidden)
        return AttentionOnAttentionState(
            hidden=zeros,
            cell=zeros,
            context=self.output.weight.new_zeros(regions.shape[0], num_hypotheses, self.spec.region_dim),
            image=image.to(regions.dtype),
            keys=split_heads_contiguous(self.key_proj(regions), self.spec.heads),  # [P, N, R, M/N]
            values=split_heads_contiguous(self.value_proj(regions), self.spec.heads),
            mask=features.mask,
        )

    def advance(
        self, words: Tensor, state: AttentionOnAttentionState
    ) -> tuple[Tensor, AttentionOnAttentionState, Tensor]:
        """Read a word, float [P, K, E]; return c_t [P, K, M]; the attention is the heads' mean, before the gate."""
        recurrent = torch.cat((state.image.unsqueeze(1) + state.context, state.hidden), dim=-1)
        gates = self.input_proj(words) + self.recurrent_proj(recurrent)  # [P, K, 4H]
        hidden, cell = lstm_update(gates, state.cell)
        query = self.query_proj(hidden)  # [P, K, M]
        context, attention = attend(query, state.keys, state.values, state.mask[:, None, None])
        context = attention_on_attention(context, query, self.aoa_proj)
        state = replace(state, hidden=hidden, cell=cell, context=context)
        return context, state, attention.mean(dim=1).float()
