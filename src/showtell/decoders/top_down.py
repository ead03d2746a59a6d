"""Top-down attention: one LSTM decides where to look, another what to say, and the first hears what was said.

Anderson et al., "Bottom-Up and Top-Down Attention for Image Captioning and Visual Question Answering" (2018), section
3.2: the attention LSTM reads h2_{t-1}, the picture as a whole and the word (equation 2); what it then holds asks the
regions by additive attention (equations 3 to 5); the language LSTM reads what was found beside what was asked
(equation 6) and names the next word (equation 7). Two changes: regions are projected to the ``memory`` width first
(linear, ReLU, dropout), and the picture as a whole to that of a word, which costs less and overfits less than reading
the encoder's own 2,048 channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from showtell.config.decoders import TopDownSpec
from showtell.decoders.base import BaseDecoder, check_regions
from showtell.decoders.state import DecoderState
from showtell.decoders.unroll import unroll
from showtell.encoders.features import Features
from showtell.kernels.additive_attention import additive_energy
from showtell.kernels.dropout import Dropout
from showtell.kernels.lstm_step import lstm_update
from showtell.kernels.shared_linear import Linear, shared_linear


@dataclass(frozen=True)
class TopDownState(DecoderState):
    """Hidden and cell of both LSTMs, beside the memory that all hypotheses of a picture share.

    Attributes:
        hidden: float [P, K, 2, H], the attention LSTM first.
        cell: float [P, K, 2, H].
        picture: The part of the picture as a whole in the attention LSTM's input [P, 4H].
        values: Projected regions [P, R, M].
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


class TopDownDecoder(BaseDecoder):
    """The decoder named ``top-down``.

    Args:
        spec: Sizes and dropout.
        vocabulary: Number of tokens V.
        encoder_width: Width D of regions and pooled vector.
        pad_id: The token whose vector stays zero.
    """

    def __init__(self, spec: TopDownSpec, *, vocabulary: int, encoder_width: int, pad_id: int) -> None:
        super().__init__()
        self.spec, self.pad_id = spec, pad_id
        self.word_embedding = nn.Embedding(vocabulary, spec.embedding, padding_idx=pad_id)
        self.image_proj = nn.Linear(encoder_width, spec.embedding)
        self.region_proj = nn.Linear(encoder_width, spec.region_dim)
        # The attention LSTM's input, by what it comes from.
        self.input_proj = nn.Linear(spec.embedding, 4 * spec.hidden)
        self.image_input_proj = nn.Linear(spec.embedding, 4 * spec.hidden, bias=False)
        self.recurrent_proj = nn.Linear(2 * spec.hidden, 4 * spec.hidden, bias=False)
        self.key_proj = nn.Linear(spec.region_dim, spec.attention)
        self.query_proj = nn.Linear(spec.hidden, spec.attention, bias=False)
        # No bias: the softmax would cancel it, and its gradient would be zero for ever.
        self.energy = nn.Linear(spec.attention, 1, bias=False)
        self.language_proj = nn.Linear(spec.region_dim + 2 * spec.hidden, 4 * spec.hidden)
        self.output = nn.Linear(spec.hidden, vocabulary)
        self.dropout = Dropout(spec.dropout)
        self.region_dropout = Dropout(spec.region_dropout)

    def init_state(self, features: Features, hypotheses: int) -> TopDownState:
        """Project the regions once; K hypotheses start from zeros."""
        check_regions(features)
        values = self.region_dropout(torch.relu(self.region_proj(features.regions)))  # [P, R, M]
        picture = self.dropout(torch.relu(self.image_proj(features.pooled)))  # [P, E]
        start = self.output.weight.new_zeros(features.pooled.shape[0], hypotheses, 2, self.spec.hidden)
        return TopDownState(
            hidden=start,
            cell=start,
            picture=self.image_input_proj(picture),  # [P, 4H]
            values=values,
            keys=self.key_proj(values),  # [P, R, A]
            mask=features.mask,
        )

    def step(self, tokens: Tensor, state: TopDownState) -> tuple[Tensor, TopDownState, Tensor]:
        """Read tokens int64 [P, K]; return logits float32 [P, K, V], the new state, attention [P, K, R]."""
        words = self.dropout(self.word_embedding(tokens))  # [P, K, E]
        layers = (self.recurrent_proj, self.query_proj, self.language_proj)
        state, attention = self._advance(self.input_proj(words), state, layers)
        return self.project(state.hidden[:, :, 1]).float(), state, attention

    def forward_hidden(self, features: Features, tokens: Tensor) -> Tensor:
        """Return the language LSTM's float [P, K, T, H] for tokens int64 [P, K, T]."""
        words = self.dropout(self.word_embedding(tokens))  # [P, K, T, E]
        layers = (
            shared_linear(self.recurrent_proj),
            shared_linear(self.query_proj),
            shared_linear(self.language_proj),
        )

        def advance(gates: Tensor, state: TopDownState) -> tuple[TopDownState, tuple[Tensor, ...]]:
            state, _ = self._advance(gates, state, layers)
            return state, (state.hidden[:, :, 1],)

        state = self.init_state(features, tokens.shape[1])
        (hidden,) = unroll(self.input_proj(words), tokens, self.pad_id, state, advance)
        return hidden

    def _advance(
        self, gates: Tensor, state: TopDownState, layers: tuple[Linear, Linear, Linear]
    ) -> tuple[TopDownState, Tensor]:
        """Update both LSTMs; ``gates`` [P, K, 4H] is the word's part of the first one's input.

        The layers are ``from_before``, ``query`` and ``language``, or what computes the same.
        """
        from_before, ask, language = layers
        gates = gates + state.picture.unsqueeze(1) + from_before(state.hidden.to(gates.dtype).flatten(2))
        asking, asking_cell = lstm_update(gates, state.cell[:, :, 0])
        asking = asking.to(gates.dtype)
        energy = additive_energy(state.keys, ask(asking), self.energy.weight.squeeze(0))  # [P, K, R]
        attention = energy.masked_fill(~state.mask.unsqueeze(1), float("-inf")).softmax(dim=2)
        found = torch.bmm(attention.to(state.values.dtype), state.values)  # [P, K, M]
        heard = torch.cat((found.to(gates.dtype), asking, state.hidden[:, :, 1].to(gates.dtype)), dim=-1)
        saying, saying_cell = lstm_update(language(heard), state.cell[:, :, 1])
        hidden = torch.stack((asking, saying.to(gates.dtype)), dim=2)  # [P, K, 2, H]
        cell = torch.stack((asking_cell, saying_cell), dim=2)
        return replace(state, hidden=hidden, cell=cell), attention.float()
