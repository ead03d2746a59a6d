"""Encoder and decoder as one module."""

import contextlib

import torch
from torch import Tensor, nn

from showtell.decoders.base import BaseDecoder
from showtell.encoders.encoder import Encoder
from showtell.encoders.features import EncoderInput, Features


class CaptioningModel(nn.Module):
    """A decoder and its encoder, which is None where features come from a cache."""

    def __init__(self, decoder: BaseDecoder, encoder: Encoder | None = None) -> None:
        super().__init__()
        self.decoder = decoder
        self.encoder = encoder

    def encode(self, inputs: EncoderInput) -> Features:
        """Return features, at least float32, of images uint8 [P, H, W, 3] or of cached features."""
        if not isinstance(inputs, Tensor):
            return inputs.float()
        if self.encoder is None:
            raise ValueError("a model without an encoder cannot encode images")
        # The precision of training does not change a frozen encoder: cached and live features are equal.
        frozen = not self.encoder.spec.trainable
        with torch.autocast(inputs.device.type, enabled=False) if frozen else contextlib.nullcontext():
            features: Features = self.encoder(inputs)
        return features

    def forward(self, inputs: EncoderInput, tokens: Tensor) -> Tensor:
        """Return logits float32 [P, K, T, V] for tokens int64 [P, K, T]."""
        logits: Tensor = self.decoder(self.encode(inputs), tokens)
        return logits
