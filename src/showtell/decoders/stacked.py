"""Two LSTMs with multi-head attention between them.

After Anderson et al., "Bottom-Up and Top-Down Attention for Image Captioning and Visual Question Answering" (2018),
section 3.2. For the word w_t and the image v (the pooled vector), with a_i the regions:

    h1_t = attention LSTM([w_t, v], h1_{t-1})
    z_t  = MultiHead(W_Q h1_t, W_K a, W_V a)      (Vaswani et al. 2017, equation 1 and section 3.2.2)
    h2_t = language LSTM([h1_t, z_t], h2_{t-1})
    p_t  = softmax(W_p h2_t)

Two changes to the paper: scaled dot products with several heads in place of additive attention, and h2_{t-1} is no
input of the attention LSTM. So no layer depends on the layer above it: under teacher forcing each is one call over
whole captions.

Shapes: P images, K hypotheses of each, T tokens, R regions, E word width, H LSTM width, M region width, N heads.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from showtell.config.decoders import StackedSpec
from showtell.decoders.base import DecoderState, RecurrentDecoder, check_regions
from showtell.encoders.features import Features
from showtell.kernels.dropout import Dropout
from showtell.kernels.lstm_cell import StepLstm
from showtell.kernels.multihead_attention import attend, split_heads_contiguous
from showtell.kernels.packed_lstm import PackedBatch, packed_lstm


@dataclass(frozen=True)
class StackedState(DecoderState):
    """The state of both LSTMs for each hypothesis, and the image, which all hypotheses share."""

    PER_HYPOTHESIS = ("hidden", "cell")

    hidden: Tensor  # h1_t and h2_t, float [P, K, 2, H]
    cell: Tensor  # their cells, float [P, K, 2, H]
    image: Tensor  # the projected pooled vector v, float [P, E]
    keys: Tensor  # W_K a, float [P, N, R, M/N]
    values: Tensor  # W_V a, float [P, N, R, M/N]
    mask: Tensor  # real regions, bool [P, R]


class StackedDecoder(RecurrentDecoder):
    """The decoder named ``stacked``."""

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

    def init_state(self, features: Features, num_hypotheses: int) -> StackedState:
        """Project the image and its regions once; both LSTMs start from zeros."""
        check_regions(features)
        regions = self.region_dropout(torch.relu(self.region_proj(features.regions)))  # [P, R, M]
        zeros = self.output.weight.new_zeros(features.pooled.shape[0], num_hypotheses, 2, self.spec.hidden)
        return StackedState(
            hidden=zeros,
            cell=zeros,
            image=self.dropout(torch.relu(self.image_proj(features.pooled))),  # [P, E]
            keys=split_heads_contiguous(self.key_proj(regions), self.spec.heads),  # [P, N, R, M/N]
            values=split_heads_contiguous(self.value_proj(regions), self.spec.heads),
            mask=features.mask,
        )

    def advance(self, words: Tensor, state: StackedState) -> tuple[Tensor, StackedState, Tensor]:
        """Advance both LSTMs by a word, float [P, K, E]; return h2_t [P, K, H]; attention is the heads' mean."""
        image = state.image.unsqueeze(1).expand(-1, words.shape[1], -1)  # [P, K, E]
        lstm_input = torch.cat((words.to(image.dtype), image), dim=-1)
        h_attention, c_attention = self.attention_lstm.step(
            lstm_input, state.hidden[:, :, 0], state.cell[:, :, 0]
        )
        context, attention = self._attend(self.query_proj(h_attention), state)  # [P, K, M], [P, N, K, R]
        lstm_input = self.dropout(torch.cat((h_attention, context.to(h_attention.dtype)), dim=-1))
        h_language, c_language = self.language_lstm.step(
            lstm_input, state.hidden[:, :, 1], state.cell[:, :, 1]
        )
        state = replace(
            state,
            hidden=torch.stack((h_attention, h_language), dim=2),
            cell=torch.stack((c_attention, c_language), dim=2),
        )
        return h_language, state, attention.mean(dim=1).float()

    def forward_hidden(self, features: Features, tokens: Tensor) -> Tensor:
        """Compute the loop over `advance` layer by layer: float [P, K, T, H] for tokens int64 [P, K, T]."""
        num_images, num_captions, length = tokens.shape
        state = self.init_state(features, num_captions)
        batch = PackedBatch.of(tokens, self.pad_id)  # N tokens that are not padding
        words = self.dropout(self.word_embedding(batch.pack(tokens)))  # [N, E]
        image = state.image[batch.images]
        h_attention = packed_lstm(
            self.attention_lstm, torch.cat((words.to(image.dtype), image), dim=1), batch
        )
        query = batch.unpack(self.query_proj(h_attention)).view(num_images, num_captions * length, -1)
        context = self._attend(query, state)[0].view(num_images, num_captions, length, -1)
        context = batch.pack(context).to(h_attention.dtype)  # [N, M]
        h_language = packed_lstm(
            self.language_lstm, self.dropout(torch.cat((h_attention, context), dim=1)), batch
        )
        return batch.unpack(h_language)

    def _attend(self, query: Tensor, state: StackedState) -> tuple[Tensor, Tensor]:
        """Attend to the regions with queries [P, X, M] -> context [P, X, M], attention [P, N, X, R]."""
        return attend(query, state.keys, state.values, state.mask[:, None, None])
