"""Top-down attention: one LSTM decides where to attend, a second one which word comes next.

Anderson et al., "Bottom-Up and Top-Down Attention for Image Captioning and Visual Question Answering" (2018), section
3.2. For the word w_t, the image v (the pooled vector) and regions v_i:

    h1_t    = attention LSTM([h2_{t-1}, v, w_t], h1_{t-1})   (equation 2)
    a_ti    = w_a . tanh(W_va v_i + W_ha h1_t)               (equation 3)
    alpha_t = softmax(a_t)                                   (equation 4)
    z_t     = sum_i alpha_ti v_i                             (equation 5, the context)
    h2_t    = language LSTM([z_t, h1_t], h2_{t-1})           (equation 6)
    p_t     = softmax(W_p h2_t)                              (equation 7)

Two changes: regions are projected to the width M first (linear, ReLU, dropout), and the image to the width of
a word, which costs less and overfits less than reading all of the encoder's channels.

Shapes: P images, K hypotheses of each, R regions, E word width, H LSTM width, M region width, A attention width.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from showtell.config.decoders import TopDownSpec
from showtell.decoders.base import DecoderState, RecurrentDecoder, check_regions
from showtell.encoders.features import Features
from showtell.kernels.additive_attention import additive_energy
from showtell.kernels.dropout import Dropout
from showtell.kernels.lstm_cell import lstm_update


@dataclass(frozen=True)
class TopDownState(DecoderState):
    """The state of both LSTMs for each hypothesis, and the image, which all hypotheses share."""

    PER_HYPOTHESIS = ("hidden", "cell")

    hidden: Tensor  # h1_t and h2_t, float [P, K, 2, H]
    cell: Tensor  # their cells, float [P, K, 2, H]
    image_gates: Tensor  # the image's part of the attention LSTM's gates, float [P, 4H]
    values: Tensor  # projected regions v_i, float [P, R, M]
    keys: Tensor  # W_va v_i, float [P, R, A]
    mask: Tensor  # real regions, bool [P, R]


class TopDownDecoder(RecurrentDecoder):
    """The decoder named ``top-down``."""

    def __init__(self, spec: TopDownSpec, *, vocabulary: int, encoder_width: int, pad_id: int) -> None:
        super().__init__()
        self.spec, self.pad_id = spec, pad_id
        self.word_embedding = nn.Embedding(vocabulary, spec.embedding, padding_idx=pad_id)
        self.image_proj = nn.Linear(encoder_width, spec.embedding)
        self.region_proj = nn.Linear(encoder_width, spec.region_dim)
        # The attention LSTM's gates, by input: the word; the image; h1_{t-1} and h2_{t-1}.
        self.input_proj = nn.Linear(spec.embedding, 4 * spec.hidden)
        self.image_input_proj = nn.Linear(spec.embedding, 4 * spec.hidden, bias=False)
        self.recurrent_proj = nn.Linear(2 * spec.hidden, 4 * spec.hidden, bias=False)
        self.key_proj = nn.Linear(spec.region_dim, spec.attention)
        self.query_proj = nn.Linear(spec.hidden, spec.attention, bias=False)
        # w_a. No bias: the softmax would cancel it, and its gradient would always be zero.
        self.energy = nn.Linear(spec.attention, 1, bias=False)
        self.language_proj = nn.Linear(spec.region_dim + 2 * spec.hidden, 4 * spec.hidden)
        self.output = nn.Linear(spec.hidden, vocabulary)
        self.dropout = Dropout(spec.dropout)
        self.region_dropout = Dropout(spec.region_dropout)

    def init_state(self, features: Features, num_hypotheses: int) -> TopDownState:
        """Project the image and its regions once; both LSTMs start from zeros."""
        check_regions(features)
        values = self.region_dropout(torch.relu(self.region_proj(features.regions)))  # [P, R, M]
        image = self.dropout(torch.relu(self.image_proj(features.pooled)))  # [P, E]
        zeros = self.output.weight.new_zeros(features.pooled.shape[0], num_hypotheses, 2, self.spec.hidden)
        return TopDownState(
            hidden=zeros,
            cell=zeros,
            image_gates=self.image_input_proj(image),  # [P, 4H]
            values=values,
            keys=self.key_proj(values),  # [P, R, A]
            mask=features.mask,
        )

    def advance(self, words: Tensor, state: TopDownState) -> tuple[Tensor, TopDownState, Tensor]:
        """Advance both LSTMs by a word, float [P, K, E]; return h2_t [P, K, H]."""
        h_attention, h_language = state.hidden.unbind(dim=2)  # [P, K, H]
        c_attention, c_language = state.cell.unbind(dim=2)

        gates = self.input_proj(words) + state.image_gates.unsqueeze(1)  # [P, K, 4H]
        gates = gates + self.recurrent_proj(torch.cat((h_attention, h_language), dim=-1))
        h_attention, c_attention = lstm_update(gates, c_attention)

        energy = additive_energy(state.keys, self.query_proj(h_attention), self.energy.weight.squeeze(0))
        attention = energy.masked_fill(~state.mask.unsqueeze(1), float("-inf")).softmax(dim=2)  # [P, K, R]
        context = torch.bmm(attention.to(state.values.dtype), state.values)  # [P, K, M]

        gates = self.language_proj(torch.cat((context, h_attention, h_language), dim=-1))
        h_language, c_language = lstm_update(gates, c_language)
        state = replace(
            state,
            hidden=torch.stack((h_attention, h_language), dim=2),
            cell=torch.stack((c_attention, c_language), dim=2),
        )
        return h_language, state, attention.float()
