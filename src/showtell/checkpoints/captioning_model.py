"""A captioner's two networks as one: an encoder that looks (or features it saw before) and a decoder that tells."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn

from showtell.decoders.registry import AnyDecoder
from showtell.encoders.encoder import Encoder
from showtell.encoders.features import EncoderInput, Features


class CaptioningModel(nn.Module):
    """An encoder and a decoder.

    Args:
        decoder: Tells.
        encoder: Looks; None where features come from a cache.
    """

    def __init__(self, decoder: AnyDecoder, encoder: Encoder | None = None) -> None:
        super().__init__()
        self.decoder = decoder
        self.encoder = encoder

    def encode(self, memory: EncoderInput) -> Features:
        """Return features in float32 at least, and those of pictures uint8 [P, H, W, 3] through the encoder."""
        if not isinstance(memory, Tensor):
            return memory.float()
        if self.encoder is None:
            raise ValueError("a model without an encoder cannot look at pictures")
        # What a frozen encoder sees does not depend on the precision of training: kept and live are the same.
        frozen = not self.encoder.spec.trainable
        with torch.autocast(memory.device.type, enabled=False) if frozen else contextlib.nullcontext():
            features: Features = self.encoder(memory)
        return features

    def forward(self, memory: EncoderInput, tokens: Tensor) -> Tensor:
        """Return logits float32 [P, K, T, V] for tokens int64 [P, K, T]."""
        logits: Tensor = self.decoder(self.encode(memory), tokens)
        return logits
