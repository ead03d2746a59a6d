"""Two LSTMs, one on the other, and between them a look at the picture.

The lower LSTM reads each word joined with the picture as a whole; what it then holds asks the regions, by attention
with several heads; the upper LSTM reads what was found beside what was asked, and names the next word. Anderson et
al., "Bottom-Up and Top-Down Attention" (2018), section 3.2, with two changes: scaled dot products with several heads
(Vaswani et al. 2017, equation 1 and section 3.2.2) in place of additive attention, and no way back from the upper
LSTM to the lower one. So nothing in a layer waits for the layer above: under teacher forcing each part is one call
over whole sentences.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from showtell.config.decoders import StackedSpec
from showtell.decoders.base import BaseDecoder, check_regions
from showtell.decoders.state import DecoderState
from showtell.encoders.features import Features
from showtell.kernels.dropout import Dropout
from showtell.kernels.lstm_step import StepLstm
from showtell.kernels.multihead_attention import attend, memory_by_head
from showtell.kernels.packed_lstm import PackedBatch, packed_lstm


@dataclass(frozen=True)
class StackedState(DecoderState):
    """Hidden and cell of both LSTMs, beside the memory that all hypotheses of a picture share.

    Attributes:
        hidden: float [P, K, 2, H], the lower LSTM first.
        cell: float [P, K, 2, H].
        picture: The picture as a whole, projected [P, E].
        keys: What queries are compared with [P, N, R, M/N], N heads.
        values: What they find [P, N, R, M/N].
        mask: Real regions, bool [P, R].
    """

    OF_HYPOTHESES = ("hidden", "cell")

    hidden: Tensor
    cell: Tensor
    picture: Tensor
    keys: Tensor
    values: Tensor
    mask: Tensor


class StackedDecoder(BaseDecoder):
    """The decoder named ``stacked``.

    Args:
        spec: Sizes and dropout.
        vocabulary: Number of tokens V.
        encoder_width: Width D of regions and pooled vector.
        pad_id: The token whose vector stays zero.
    """

    def __init__(self, spec: StackedSpec, *, vocabulary: int, encoder_width: int, pad_id: int) -> None:
        super().__init__()
        self.spec, self.pad_id = spec, pad_id
        self.word_embedding = nn.Embedding(vocabulary, spec.embedding, padding_idx=pad_id)
        self.image_proj = nn.Linear(encoder_width, spec.embedding)
        self.region_proj = nn.Linear(encoder_width, spec.region_dim)
        self.attention_lstm = StepLstm(2 * spec.embedding, spec.hidden)
        self.query_proj = nn.Linear(spec.hidden, spec.region_dim, bias=False)
        # No bias: it would add the same to the energies of all regions, which the softmax cancels.
        self.key_proj = nn.Linear(spec.region_dim, spec.region_dim, bias=False)
        self.value_proj = nn.Linear(spec.region_dim, spec.region_dim)
        self.language_lstm = StepLstm(spec.hidden + spec.region_dim, spec.hidden)
        self.output = nn.Linear(spec.hidden, vocabulary)
        self.dropout = Dropout(spec.dropout)
        self.region_dropout = Dropout(spec.region_dropout)

    def init_state(self, features: Features, hypotheses: int) -> StackedState:
        """Project the regions once; K hypotheses start from zero states."""
        check_regions(features)
        regions = self.region_dropout(torch.relu(self.region_proj(features.regions)))  # [P, R, M]
        start = self.output.weight.new_zeros(features.pooled.shape[0], hypotheses, 2, self.spec.hidden)
        return StackedState(
            hidden=start,
            cell=start,
            picture=self.dropout(torch.relu(self.image_proj(features.pooled))),  # [P, E]
            keys=memory_by_head(self.key_proj(regions), self.spec.heads),  # [P, N, R, M/N]
            values=memory_by_head(self.value_proj(regions), self.spec.heads),
            mask=features.mask,
        )

    def step(self, tokens: Tensor, state: StackedState) -> tuple[Tensor, StackedState, Tensor]:
        """Read tokens int64 [P, K]; return logits float32 [P, K, V], the new state, attention [P, K, R].

        The attention is the mean over the heads.
        """
        pictures, hypotheses = tokens.shape
        words = self.dropout(self.word_embedding(tokens))  # [P, K, E]
        picture = state.picture.unsqueeze(1).expand(-1, hypotheses, -1)
        hidden, cell = state.hidden.flatten(0, 1), state.cell.flatten(0, 1)  # [P*K, 2, H]
        heard = torch.cat((words.to(picture.dtype), picture), dim=-1).flatten(0, 1)  # [P*K, 2E]
        lower = self.attention_lstm.step(heard, hidden[:, 0], cell[:, 0])
        found, attention = self._look(self.query_proj(lower[0]).view(pictures, hypotheses, -1), state)
        joined = self.dropout(torch.cat((lower[0], found.flatten(0, 1).to(lower[0].dtype)), dim=-1))
        upper = self.language_lstm.step(joined, hidden[:, 1], cell[:, 1])
        hidden, cell = (
            torch.stack(parts, dim=1).view(pictures, hypotheses, 2, -1)
            for parts in zip(lower, upper, strict=True)
        )
        state = replace(state, hidden=hidden, cell=cell)
        return self.project(hidden[:, :, 1]).float(), state, attention.mean(dim=1).float()

    def forward_hidden(self, features: Features, tokens: Tensor) -> Tensor:
        """Return the upper LSTM's float [P, K, T, H] for tokens int64 [P, K, T], zero for padding."""
        pictures, hypotheses, length = tokens.shape
        state = self.init_state(features, hypotheses)
        sentences = PackedBatch.of(tokens.flatten(0, 1), self.pad_id)  # N tokens
        words = self.dropout(
            self.word_embedding(sentences.pack(tokens.view(-1, length, 1)).squeeze(1))
        )  # [N, E]
        picture = state.picture[sentences.rows.div(hypotheses, rounding_mode="floor")]
        lower = packed_lstm(
            self.attention_lstm, torch.cat((words.to(picture.dtype), picture), dim=1), sentences
        )
        query = sentences.unpack(self.query_proj(lower)).view(pictures, hypotheses * length, -1)
        found = self._look(query, state)[0].reshape(-1, length, self.spec.region_dim)
        joined = self.dropout(torch.cat((lower, sentences.pack(found).to(lower.dtype)), dim=1))  # [N, H + M]
        upper = packed_lstm(self.language_lstm, joined, sentences)
        return sentences.unpack(upper).view(pictures, hypotheses, length, -1)

    def _look(self, query: Tensor, state: StackedState) -> tuple[Tensor, Tensor]:
        """Ask the regions with queries [P, X, M] -> what was found [P, X, M], attention [P, N, X, R]."""
        return attend(query, state.keys, state.values, state.mask[:, None, None])
