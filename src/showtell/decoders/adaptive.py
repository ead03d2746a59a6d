"""Adaptive attention: for every word the decoder weighs the image against what it already knows.

Lu, Xiong, Parikh, Socher, "Knowing When to Look: Adaptive Attention via A Visual Sentinel for Image Captioning"
(2017). The LSTM reads x_t, the word and the image as a whole (section 2.3); its hidden state h_t attends to the
regions V and to the sentinel s_t, a gated copy of its memory cell m_t:

    z_t = w_h . tanh(W_v V + W_g h_t)                                   (equation 6)
    g_t = sigmoid(W_x x_t + W_h h_{t-1})                                (equation 9)
    s_t = g_t * tanh(m_t)                                               (equation 10, the sentinel)
    [alpha'_t; beta_t] = softmax([z_t; w_h . tanh(W_s s_t + W_g h_t)])  (equation 12)
    c_t = sum of alpha'_t V + beta_t s_t                                (equations 8 and 11)
    p_t = softmax(W_p (c_t + h_t))                                      (equation 13)

Two changes: the attention's hidden layer has a width A of its own (in the paper, the number of regions), and the LSTM
starts from zeros.

Shapes: P images, K hypotheses of each, R regions, E word width, H LSTM width, A attention width.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from showtell.config.decoders import AdaptiveSpec
from showtell.decoders.base import DecoderState, RecurrentDecoder, check_regions
from showtell.encoders.features import Features
from showtell.kernels.additive_attention import additive_energy
from showtell.kernels.dropout import Dropout
from showtell.kernels.lstm_cell import StepLstm


@dataclass(frozen=True)
class AdaptiveState(DecoderState):
    """The LSTM's state of each hypothesis, and the image, which all hypotheses share."""

    PER_HYPOTHESIS = ("hidden", "cell")

    hidden: Tensor  # h_t, float [P, K, H]
    cell: Tensor  # m_t, float [P, K, H]
    image: Tensor  # the projected pooled vector, float [P, E]
    values: Tensor  # projected regions V, float [P, R, H]
    keys: Tensor  # W_v V, float [P, R, A]
    mask: Tensor  # real regions, bool [P, R]


class AdaptiveDecoder(RecurrentDecoder):
    """The decoder named ``adaptive``."""

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
        # w_h. No bias: the softmax would cancel it, and its gradient would always be zero.
        self.energy = nn.Linear(spec.attention, 1, bias=False)
        self.output = nn.Linear(spec.hidden, vocabulary)
        self.dropout = Dropout(spec.dropout)
        self.region_dropout = Dropout(spec.region_dropout)

    def init_state(self, features: Features, num_hypotheses: int) -> AdaptiveState:
        """Project the image and its regions once; the LSTM starts from zeros."""
        check_regions(features)
        values = self.region_dropout(torch.relu(self.region_proj(features.regions)))  # [P, R, H]
        zeros = self.output.weight.new_zeros(features.pooled.shape[0], num_hypotheses, self.spec.hidden)
        return AdaptiveState(
            hidden=zeros,
            cell=zeros,
            image=self.dropout(torch.relu(self.image_proj(features.pooled))),  # [P, E]
            values=values,
            keys=self.key_proj(values),  # [P, R, A]
            mask=features.mask,
        )

    def advance(self, words: Tensor, state: AdaptiveState) -> tuple[Tensor, AdaptiveState, Tensor]:
        """Read a word, float [P, K, E]; return c_t + h_t [P, K, H].

        The attention is the paper's alpha (equation 7): the weights among the regions, without the sentinel's.
        """
        image = state.image.unsqueeze(1).expand(-1, words.shape[1], -1)
        lstm_input = torch.cat((words.to(image.dtype), image), dim=-1)  # x_t [P, K, 2E]
        hidden, cell = self.lstm.step(lstm_input, state.hidden, state.cell)
        gate = torch.sigmoid(self.sentinel_gate(torch.cat((lstm_input, state.hidden), dim=-1)))
        sentinel = gate * torch.tanh(cell)
        context, energy, _ = self._attend(hidden, sentinel, state)
        state = replace(state, hidden=hidden, cell=cell)
        return hidden + context, state, energy.softmax(dim=2).float()

    def _attend(
        self, hidden: Tensor, sentinel: Tensor, state: AdaptiveState
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return c_t [P, K, H], z_t [P, K, R], beta_t [P, K, 1] for h_t and s_t [P, K, H]."""
        query = self.query_proj(hidden)  # [P, K, A]
        energy = additive_energy(state.keys, query, self.energy.weight.squeeze(0))  # [P, K, R]
        energy = energy.masked_fill(~state.mask.unsqueeze(1), float("-inf"))
        sentinel_energy = self.energy(torch.tanh(self.sentinel_key_proj(sentinel) + query))  # [P, K, 1]
        attention = torch.cat((energy, sentinel_energy.to(energy.dtype)), dim=2).softmax(dim=2)
        attention, beta = attention[..., :-1], attention[..., -1:]
        context = torch.bmm(attention.to(state.values.dtype), state.values) + beta * sentinel
        return context.to(hidden.dtype), energy, beta
