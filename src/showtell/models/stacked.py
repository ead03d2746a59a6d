"""Two LSTMs, one on the other, and between them a look at the picture.

The lower LSTM reads each word joined with the picture as a whole; what it then holds asks the regions, by attention
with several heads; the upper LSTM reads what was found beside what was asked, and names the next word. Anderson et
al., "Bottom-Up and Top-Down Attention" (2018), section 3.2, with two changes: scaled dot products with several heads
(Vaswani et al. 2017, equation 1 and section 3.2.2) in place of additive attention, and no way back from the upper
LSTM to the lower one. So nothing in a layer waits for the layer above: under teacher forcing each part is one fused
call over whole sentences.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from showtell.models.decoder import check_regions, select_hypotheses
from showtell.models.decoder_specs import StackedSpec
from showtell.models.dropout import Dropout
from showtell.models.features import Features
from showtell.models.lstm_step import lstm_step


@dataclass(frozen=True)
class StackedState:
    """Hidden and cell of both LSTMs, beside the memory that all hypotheses of a picture share.

    Attributes:
        hidden: float [P, K, 2, H], the lower LSTM first.
        cell: float [P, K, 2, H].
        picture: The picture as a whole, projected [P, E].
        keys: What queries are compared with [P, N, R, M/N], N heads.
        values: What they find [P, N, R, M/N].
        mask: Real regions, bool [P, R].
    """

    hidden: Tensor
    cell: Tensor
    picture: Tensor
    keys: Tensor
    values: Tensor
    mask: Tensor

    def select(self, parents: Tensor) -> Self:
        """Return the states of the parents, int64 [P, K']; the memory stays where it is."""
        hidden, cell = (select_hypotheses(part, parents) for part in (self.hidden, self.cell))
        return replace(self, hidden=hidden, cell=cell)

    def keep(self, pictures: Tensor) -> Self:
        """Return the states of these pictures alone, int64 [P'], with their memory."""
        parts = (self.hidden, self.cell, self.picture, self.keys, self.values, self.mask)
        return type(self)(*(part[pictures] for part in parts))


class StackedDecoder(nn.Module):
    """The decoder named ``stacked``.

    Args:
        spec: Sizes and dropout.
        vocabulary: Number of tokens V.
        encoder_width: Width D of regions and pooled vector.
        pad_id: The token whose vector stays zero.
    """

    def __init__(self, spec: StackedSpec, *, vocabulary: int, encoder_width: int, pad_id: int) -> None:
        super().__init__()
        self.spec = spec
        self.words = nn.Embedding(vocabulary, spec.embedding, padding_idx=pad_id)
        self.picture = nn.Linear(encoder_width, spec.embedding)
        self.memory = nn.Linear(encoder_width, spec.memory)
        self.lower = nn.LSTM(2 * spec.embedding, spec.hidden, batch_first=True)
        self.query = nn.Linear(spec.hidden, spec.memory, bias=False)
        # No bias: it would add the same to the energies of all regions, which the softmax cancels.
        self.key = nn.Linear(spec.memory, spec.memory, bias=False)
        self.value = nn.Linear(spec.memory, spec.memory)
        self.upper = nn.LSTM(spec.hidden + spec.memory, spec.hidden, batch_first=True)
        self.output = nn.Linear(spec.hidden, vocabulary)
        self.dropout = Dropout(spec.dropout)
        self.memory_dropout = Dropout(spec.memory_dropout)

    def begin(self, features: Features, hypotheses: int) -> StackedState:
        """Project the regions once; K hypotheses start from zero states."""
        check_regions(features)
        regions = self.memory_dropout(torch.relu(self.memory(features.regions)))  # [P, R, M]
        start = self.output.weight.new_zeros(len(features.pooled), hypotheses, 2, self.spec.hidden)
        return StackedState(
            hidden=start,
            cell=start,
            picture=self.dropout(torch.relu(self.picture(features.pooled))),  # [P, E]
            keys=self._by_head(self.key(regions)),  # [P, N, R, M/N]
            values=self._by_head(self.value(regions)),
            mask=features.mask,
        )

    def step(self, tokens: Tensor, state: StackedState) -> tuple[Tensor, StackedState, Tensor]:
        """Read tokens int64 [P, K]; return logits float32 [P, K, V], the new state, attention [P, K, R].

        The attention is the mean over the heads.
        """
        logits, state, attention = self._tell(tokens.unsqueeze(2), state)
        return logits.squeeze(2), state, attention.mean(dim=1)

    def forward(self, features: Features, tokens: Tensor) -> Tensor:
        """Return logits float32 [P, K, T, V] for tokens int64 [P, K, T]."""
        return self._tell(tokens, self.begin(features, tokens.shape[1]))[0]

    def _tell(self, tokens: Tensor, state: StackedState) -> tuple[Tensor, StackedState, Tensor]:
        """Read tokens [P, K, T] -> logits [P, K, T, V], the state after them, attention [P, N, K*T, R]."""
        words = self.dropout(self.words(tokens))  # [P, K, T, E]
        picture = state.picture[:, None, None].expand(*tokens.shape, -1)
        lower, below = self._read(self.lower, torch.cat((words.to(picture.dtype), picture), dim=-1), state, 0)
        found, attention = self._look(lower, state)
        # [P, K, T, H + M]
        upper, above = self._read(self.upper, self.dropout(torch.cat((lower, found), dim=-1)), state, 1)
        hidden, cell = (torch.stack(parts, dim=2) for parts in zip(below, above, strict=True))
        logits = self.output(self.dropout(upper)).float()
        return logits, replace(state, hidden=hidden, cell=cell), attention

    def _look(self, lower: Tensor, state: StackedState) -> tuple[Tensor, Tensor]:
        """Ask the regions with the lower LSTM's [P, K, T, H] -> found [P, K, T, M], attention [P, N, K*T, R].

        Plain products: on the CPU they take a quarter of the time of torch's fused attention, whose blocks are made
        for far more keys than a picture has regions.
        """
        query = self._by_head(self.query(lower).flatten(1, 2))  # [P, N, K*T, M/N]
        energy = query @ state.keys.transpose(2, 3) / math.sqrt(query.shape[-1])  # [P, N, K*T, R]
        attention = energy.float().masked_fill(~state.mask[:, None, None], float("-inf")).softmax(dim=3)
        found = attention.to(state.values.dtype) @ state.values  # [P, N, K*T, M/N]
        return found.transpose(1, 2).flatten(2).view(*lower.shape[:3], -1).to(lower.dtype), attention

    @staticmethod
    def _read(
        lstm: nn.LSTM, inputs: Tensor, state: StackedState, layer: int
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Let an LSTM read [P, K, T, X] -> [P, K, T, H] and its last hidden and cell [P, K, H]."""
        pictures, hypotheses, length, _ = inputs.shape
        hidden, cell = (part[:, :, layer].flatten(0, 1) for part in (state.hidden, state.cell))  # [P*K, H]
        if length == 1:
            hidden, cell = lstm_step(lstm, inputs.flatten(0, 2), hidden, cell)
            output = hidden.unsqueeze(1)
        else:
            before = (hidden.unsqueeze(0).contiguous(), cell.unsqueeze(0).contiguous())
            output, after = lstm(inputs.flatten(0, 1), before)
            hidden, cell = (part.squeeze(0) for part in after)
        hidden, cell = (part.view(pictures, hypotheses, -1) for part in (hidden, cell))
        return output.view(pictures, hypotheses, length, -1), (hidden, cell)

    def _by_head(self, values: Tensor) -> Tensor:
        """[P, X, M] -> [P, N, X, M/N]."""
        pictures, places, _ = values.shape
        return values.view(pictures, places, self.spec.heads, -1).transpose(1, 2)
