"""Show, Attend and Tell: before every word the decoder attends to the regions of the image that matter for it.

Xu et al., "Show, Attend and Tell: Neural Image Caption Generation with Visual Attention" (2015), with additive soft
attention. For the word y_{t-1} read at time t, and the encoder's regions f_i:

    a_i      = relu(W_r f_i)                                     (the projected regions)
    h_0, c_0 = tanh(W_init mean(f))                              (section 3.1.2)
    e_ti     = v . tanh(W_a a_i + W_q h_{t-1})                   (equation 4, Bahdanau et al. 2015)
    alpha_t  = softmax(e_t)                                      (equation 5)
    beta_t   = sigmoid(W_beta h_{t-1})                           (section 4.2.1, the context's gate)
    z_t      = beta_t * sum_i alpha_ti a_i                       (equation 13, the context)
    h_t, c_t = LSTM([E y_{t-1}, z_t], h_{t-1}, c_{t-1})          (equations 1 to 3)
    p_t      = softmax(L_o tanh(E y_{t-1} + L_h h_t + L_z z_t))  (equation 7, deep output)

Biases are left out here; `BaseDecoder.project` applies dropout and L_o, and its callers the softmax.

Changes to the paper: the regions are projected to the width M (with dropout), which costs less and overfits less than
attention over all of their D channels; beta_t has a value for each of the M channels in place of one; one layer makes
h_0 and c_0; the deep output has a tanh, as in the authors' code; no loss asks that each region be attended to (doubly
stochastic attention, section 4.2.1).

Shapes: P images, K hypotheses of each (in training: captions), T tokens (N in all, without padding), R regions of D
channels, M projected channels, E embedding size, H LSTM size, A attention size, V vocabulary.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from showtell.config.decoders import AttentionSpec
from showtell.decoders.base import DecoderState, RecurrentDecoder, check_regions
from showtell.encoders.features import Features
from showtell.kernels.additive_attention import additive_energy
from showtell.kernels.attention_lstm import AttentionLstmLayers, attention_lstm
from showtell.kernels.dropout import Dropout
from showtell.kernels.packed_lstm import PackedBatch


@dataclass(frozen=True)
class AttentionState(DecoderState):
    """The LSTM's state of each hypothesis, and the regions, which all hypotheses of an image share."""

    PER_HYPOTHESIS = ("hidden", "cell")  # what beam search reorders

    hidden: Tensor  # h_t, float [P, K, H]
    cell: Tensor  # c_t, float [P, K, H]
    values: Tensor  # projected regions a_i, float [P, R, M]
    keys: Tensor  # W_a a_i, float [P, R, A]
    mask: Tensor  # real regions, bool [P, R]


class AttentionDecoder(RecurrentDecoder):
    """The decoder named ``attention``."""

    def __init__(self, spec: AttentionSpec, *, vocabulary: int, encoder_width: int, pad_id: int) -> None:
        super().__init__()
        self.spec, self.pad_id = spec, pad_id
        self.region_proj = nn.Linear(encoder_width, spec.region_dim)  # W_r
        self.init_proj = nn.Linear(encoder_width, 2 * spec.hidden)  # W_init
        self.word_embedding = nn.Embedding(vocabulary, spec.embedding, padding_idx=pad_id)
        self.key_proj = nn.Linear(spec.region_dim, spec.attention)  # W_a
        self.query_proj = nn.Linear(spec.hidden, spec.attention, bias=False)  # W_q
        # v. No bias: the softmax would cancel it, and its gradient would always be zero.
        self.energy = nn.Linear(spec.attention, 1, bias=False)
        self.context_gate = nn.Linear(spec.hidden, spec.region_dim)  # W_beta
        # The LSTM's gates (forget, input, output, cell), by input: the word; the context and h_{t-1}.
        self.input_proj = nn.Linear(spec.embedding, 4 * spec.hidden)
        self.context_proj = nn.Linear(spec.region_dim + spec.hidden, 4 * spec.hidden, bias=False)
        self.deep_output = nn.Linear(spec.hidden + spec.region_dim, spec.embedding)  # L_h and L_z
        self.output = nn.Linear(spec.embedding, vocabulary)  # L_o
        self.dropout = Dropout(spec.dropout)
        self.region_dropout = Dropout(spec.region_dropout)

    def init_state(self, features: Features, num_hypotheses: int) -> AttentionState:
        """Project the regions once, and start K hypotheses from the pooled vector."""
        check_regions(features)
        values = self.region_dropout(torch.relu(self.region_proj(features.regions)))  # [P, R, M]
        hidden, cell = torch.tanh(self.init_proj(features.pooled)).chunk(2, dim=-1)  # [P, H]
        return AttentionState(
            hidden=hidden.unsqueeze(1).expand(-1, num_hypotheses, -1),  # [P, K, H]
            cell=cell.float().unsqueeze(1).expand(-1, num_hypotheses, -1),
            values=values,
            keys=self.key_proj(values),  # [P, R, A]
            mask=features.mask,
        )

    def advance(self, words: Tensor, state: AttentionState) -> tuple[Tensor, AttentionState, Tensor]:
        """Attend, update the LSTM, and return the deep output layer [P, K, E]; words float [P, K, E]."""
        # Attention over the regions, by the previous hidden state.
        query = self.query_proj(state.hidden)  # [P, K, A]
        energy = additive_energy(state.keys, query, self.energy.weight.squeeze(0))  # [P, K, R]
        attention = energy.masked_fill(~state.mask.unsqueeze(1), float("-inf")).softmax(dim=2)
        context = torch.bmm(attention.to(state.values.dtype), state.values)  # [P, K, M]
        context = torch.sigmoid(self.context_gate(state.hidden)) * context

        # The LSTM reads the word and the context.
        gates = self.input_proj(words) + self.context_proj(torch.cat((context, state.hidden), dim=-1))
        forget_gate, input_gate, output_gate, cell_gate = gates.float().chunk(4, dim=-1)  # [P, K, H]
        cell = torch.sigmoid(forget_gate) * state.cell + torch.sigmoid(input_gate) * torch.tanh(cell_gate)
        hidden = (torch.sigmoid(output_gate) * torch.tanh(cell)).to(gates.dtype)

        state = replace(state, hidden=hidden, cell=cell)
        return self._deep_output(words, hidden, context), state, attention.float()

    def forward_hidden(self, features: Features, tokens: Tensor) -> Tensor:
        """Compute the loop over `advance` by one kernel: float [P, K, T, E] for tokens int64 [P, K, T]."""
        state = self.init_state(features, tokens.shape[1])
        batch = PackedBatch.of(tokens, self.pad_id)  # N tokens that are not padding
        words = self.dropout(self.word_embedding(batch.pack(tokens)))  # [N, E]
        layers = AttentionLstmLayers(self.query_proj, self.context_gate, self.context_proj, self.energy)
        hidden, context = attention_lstm(  # [N, H], [N, M]
            self.input_proj(words), batch, layers,
            hidden=state.hidden, cell=state.cell, keys=state.keys, values=state.values, mask=state.mask,
        )  # fmt: skip
        return batch.unpack(self._deep_output(words, hidden, context))

    def _deep_output(self, words: Tensor, hidden: Tensor, context: Tensor) -> Tensor:
        return torch.tanh(words + self.deep_output(torch.cat((hidden, context), dim=-1)))  # [..., E]
