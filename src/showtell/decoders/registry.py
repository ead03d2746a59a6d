"""The decoders by name."""

from showtell.config.decoders import DecoderSpec
from showtell.decoders.adaptive import AdaptiveDecoder
from showtell.decoders.attention import AttentionDecoder
from showtell.decoders.attention_on_attention import AttentionOnAttentionDecoder
from showtell.decoders.base import BaseDecoder
from showtell.decoders.lstm import LstmDecoder
from showtell.decoders.stacked import StackedDecoder
from showtell.decoders.top_down import TopDownDecoder
from showtell.decoders.transformer import TransformerDecoder

DECODERS: dict[str, type[BaseDecoder]] = {
    "lstm": LstmDecoder,
    "attention": AttentionDecoder,
    "stacked": StackedDecoder,
    "adaptive": AdaptiveDecoder,
    "top-down": TopDownDecoder,
    "attention-on-attention": AttentionOnAttentionDecoder,
    "transformer": TransformerDecoder,
}


def build_decoder(spec: DecoderSpec, *, vocabulary: int, encoder_width: int, pad_id: int) -> BaseDecoder:
    """Return a new decoder for a spec, with initial weights."""
    kind = DECODERS[spec.name]
    return kind(spec, vocabulary=vocabulary, encoder_width=encoder_width, pad_id=pad_id)
