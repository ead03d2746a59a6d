"""Show and Tell: an LSTM whose first input is the image.

Vinyals, Toshev, Bengio, Erhan, "Show and Tell: A Neural Image Caption Generator" (2015), equations 10 to 12:

    x_{-1} = W_I image,   x_t = W_e word_t,   p_{t+1} = softmax(W_o LSTM(x_t))

The LSTM reads the image once, before ``<bos>``; after that it reads words alone. W_I replaces the encoder's
classifier: a linear layer, alone or followed by batch norm (Ioffe and Szegedy 2015) and ReLU.

Shapes: P images, K hypotheses of each, T tokens, E word width, H LSTM width, N = tokens that are not padding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from showtell.config.decoders import LstmSpec
from showtell.decoders.base import DecoderState, RecurrentDecoder
from showtell.encoders.features import Features
from showtell.kernels.dropout import Dropout
from showtell.kernels.packed_lstm import PackedBatch, packed_lstm, run_lstm


@dataclass(frozen=True)
class LstmState(DecoderState):
    """Hidden state and cell of every layer, float [P, K, layers, H]."""

    PER_HYPOTHESIS = ("hidden", "cell")

    hidden: Tensor
    cell: Tensor


class ImageBatchNorm(nn.Module):
    """Batch norm and ReLU of image vectors, in float32 whatever the precision of training.

    The statistics are per image, however many captions an image has. A batch of one image has no variance: it is
    normalized by the running statistics and does not update them.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)

    def forward(self, images: Tensor) -> Tensor:
        """Return float32 [P, E], none negative, for float [P, E]."""
        norm = self.norm
        with torch.autocast(images.device.type, enabled=False):
            images = images.to(norm.weight.dtype)
            if self.training and len(images) > 1:
                return functional.relu(norm(images))
            mean, var = norm.running_mean, norm.running_var
            images = functional.batch_norm(images, mean, var, norm.weight, norm.bias, eps=norm.eps)
            return functional.relu(images)


class LstmDecoder(RecurrentDecoder):
    """The decoder named ``lstm``."""

    def __init__(self, spec: LstmSpec, *, vocabulary: int, encoder_width: int, pad_id: int) -> None:
        super().__init__()
        self.spec, self.pad_id = spec, pad_id
        self.image_proj = nn.Linear(encoder_width, spec.embedding)
        self.image_norm = ImageBatchNorm(spec.embedding) if spec.image_head == "batch-norm" else nn.Identity()
        self.word_embedding = nn.Embedding(vocabulary, spec.embedding, padding_idx=pad_id)
        layer_dropout = spec.dropout if spec.layers > 1 else 0.0
        self.lstm = nn.LSTM(spec.embedding, spec.hidden, spec.layers, batch_first=True, dropout=layer_dropout)
        self.output = nn.Linear(spec.hidden, vocabulary)
        self.dropout = Dropout(spec.dropout)

    def init_state(self, features: Features, num_hypotheses: int) -> LstmState:
        """Read the image, the LSTM's first input, once for all K hypotheses."""
        images = self.dropout(self.image_norm(self.image_proj(features.pooled)))  # [P, E]
        _, (hidden, cell) = run_lstm(self.lstm, images.unsqueeze(1))  # [layers, P, H]
        hidden, cell = (
            part.transpose(0, 1).unsqueeze(1).expand(-1, num_hypotheses, -1, -1)  # [P, K, layers, H]
            for part in (hidden, cell)
        )
        return LstmState(hidden, cell)

    def advance(self, words: Tensor, state: LstmState) -> tuple[Tensor, LstmState, None]:
        """Read one word per hypothesis, float [P, K, E]; return the last layer's hidden state [P, K, H]."""
        num_images, num_hypotheses, _ = words.shape
        inputs = words.flatten(0, 1).unsqueeze(1)  # [P*K, 1, E]
        outputs, layers = run_lstm(self.lstm, inputs, self._by_layer(state))
        hidden, cell = (
            part.transpose(0, 1).reshape(num_images, num_hypotheses, *part.shape[::2]) for part in layers
        )
        return outputs.view(num_images, num_hypotheses, -1), LstmState(hidden, cell), None

    def forward_hidden(self, features: Features, tokens: Tensor) -> Tensor:
        """Compute the loop over `advance` without padding: float [P, K, T, H] for tokens int64 [P, K, T]."""
        state = self.init_state(features, tokens.shape[1])
        batch = PackedBatch.of(tokens, self.pad_id)
        words = self.dropout(self.word_embedding(batch.pack(tokens)))  # [N, E]
        return batch.unpack(packed_lstm(self.lstm, words, batch, self._by_layer(state)))

    def _by_layer(self, state: LstmState) -> tuple[Tensor, Tensor]:
        """Return hidden state and cell in the layout of `torch.nn.LSTM`, [layers, P*K, H]."""
        hidden, cell = (
            part.flatten(0, 1).transpose(0, 1).contiguous() for part in (state.hidden, state.cell)
        )
        return hidden, cell
