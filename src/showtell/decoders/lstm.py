"""Show and tell: an LSTM whose first input is the picture.

Vinyals, Toshev, Bengio, Erhan, "Show and Tell: A Neural Image Caption Generator" (2015), equations 10 to 12: the
picture is read once, before ``<bos>``; after that the LSTM sees words alone. What makes the picture a word stands in
place of the encoder's classifier: a linear layer, alone or followed by batch norm (Ioffe and Szegedy 2015) and ReLU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from showtell.config.decoders import LstmSpec
from showtell.decoders.base import BaseDecoder
from showtell.decoders.state import DecoderState
from showtell.encoders.features import Features
from showtell.kernels.dropout import Dropout
from showtell.kernels.lstm_step import run_lstm
from showtell.kernels.packed_lstm import PackedBatch, packed_lstm


@dataclass(frozen=True)
class LstmState(DecoderState):
    """Hidden and cell of every layer, float [P, K, layers, H]."""

    OF_HYPOTHESES = ("hidden", "cell")

    hidden: Tensor
    cell: Tensor


class ImageBatchNorm(nn.Module):
    """Batch norm and ReLU of pictures' vectors, in float32 whatever the precision of training.

    The statistics are those of the pictures that pass at once, each counted once however many captions it has. One
    picture alone has no spread to divide by: it is normalised by the running statistics and leaves them as they are.

    Args:
        width: Of the vectors.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)

    def forward(self, seen: Tensor) -> Tensor:
        """Return vectors float [P, E], none below zero."""
        norm = self.norm
        with torch.autocast(seen.device.type, enabled=False):
            exact = seen.to(norm.weight.dtype)
            if self.training and len(exact) > 1:
                return functional.relu(norm(exact))
            mean, var = norm.running_mean, norm.running_var
            return functional.relu(
                functional.batch_norm(exact, mean, var, norm.weight, norm.bias, eps=norm.eps)
            )


class LstmDecoder(BaseDecoder):
    """The decoder named ``lstm``.

    Args:
        spec: Sizes and dropout.
        vocabulary: Number of tokens V.
        encoder_width: Width D of the pooled vector.
        pad_id: The token whose vector stays zero.
    """

    def __init__(self, spec: LstmSpec, *, vocabulary: int, encoder_width: int, pad_id: int) -> None:
        super().__init__()
        self.spec, self.pad_id = spec, pad_id
        self.image_proj = nn.Linear(encoder_width, spec.embedding)
        self.image_norm = ImageBatchNorm(spec.embedding) if spec.image_head == "batch-norm" else nn.Identity()
        self.word_embedding = nn.Embedding(vocabulary, spec.embedding, padding_idx=pad_id)
        between = spec.dropout if spec.layers > 1 else 0.0
        self.lstm = nn.LSTM(spec.embedding, spec.hidden, spec.layers, batch_first=True, dropout=between)
        self.output = nn.Linear(spec.hidden, vocabulary)
        self.dropout = Dropout(spec.dropout)

    def init_state(self, features: Features, hypotheses: int) -> LstmState:
        """Read the picture once and hand its state to K hypotheses."""
        pictures = self.dropout(self.image_norm(self.image_proj(features.pooled)))  # [P, E]
        _, (hidden, cell) = run_lstm(self.lstm, pictures.unsqueeze(1))  # [layers, P, H]
        hidden, cell = (
            part.transpose(0, 1).unsqueeze(1).expand(-1, hypotheses, -1, -1)  # [P, K, layers, H]
            for part in (hidden, cell)
        )
        return LstmState(hidden, cell)

    def step(self, tokens: Tensor, state: LstmState) -> tuple[Tensor, LstmState, None]:
        """Read tokens int64 [P, K]; return logits float32 [P, K, V] and the new state."""
        words = self.dropout(self.word_embedding(tokens)).flatten(0, 1).unsqueeze(1)  # [P*K, 1, E]
        output, after = run_lstm(self.lstm, words, self._by_layer(state))  # [P*K, 1, H], [layers, P*K, H]
        hidden, cell = (part.transpose(0, 1).reshape(*tokens.shape, *part.shape[::2]) for part in after)
        return self.project(output.view(*tokens.shape, -1)).float(), LstmState(hidden, cell), None

    def forward_hidden(self, features: Features, tokens: Tensor) -> Tensor:
        """Return the last layer's float [P, K, T, H] for tokens int64 [P, K, T], zero for padding."""
        pictures, hypotheses, length = tokens.shape
        hidden, cell = self._by_layer(self.init_state(features, hypotheses))
        sentences = PackedBatch.of(tokens.flatten(0, 1), self.pad_id)  # N tokens
        words = self.dropout(
            self.word_embedding(sentences.pack(tokens.view(-1, length, 1)).squeeze(1))
        )  # [N, E]
        outputs = packed_lstm(self.lstm, words, sentences, (hidden, cell))
        return sentences.unpack(outputs).view(pictures, hypotheses, length, -1)

    def _by_layer(self, state: LstmState) -> tuple[Tensor, Tensor]:
        """Return hidden and cell as torch's LSTMs have them, [layers, P*K, H]."""
        hidden, cell = (
            part.flatten(0, 1).transpose(0, 1).contiguous() for part in (state.hidden, state.cell)
        )
        return hidden, cell
