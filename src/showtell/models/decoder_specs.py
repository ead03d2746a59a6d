"""What a decoder is made of, as recipe keys. Free of torch, so that recipes are read without it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from showtell.options import StrictModel


class LstmSpec(StrictModel):
    """Show and tell: the picture is the first word an LSTM reads (Vinyals et al. 2015)."""

    name: Literal["lstm"] = "lstm"
    embedding: int = Field(512, ge=1, le=8192, description="word vector width E")
    hidden: int = Field(512, ge=1, le=8192, description="LSTM width H")
    layers: int = Field(1, ge=1, le=8, description="LSTM layers")
    dropout: float = Field(0.5, ge=0.0, lt=1.0, description="share of zeros in picture, words and output")


class AttentionSpec(StrictModel):
    """Show, attend and tell: additive attention over regions, gated (Xu et al. 2015)."""

    name: Literal["attention"] = "attention"
    embedding: int = Field(512, ge=1, le=8192, description="word vector width E")
    hidden: int = Field(512, ge=1, le=8192, description="LSTM width H")
    attention: int = Field(512, ge=1, le=8192, description="width of the additive attention's hidden layer")
    memory: int = Field(512, ge=1, le=8192, description="width that regions are projected to")
    dropout: float = Field(0.5, ge=0.0, lt=1.0, description="share of zeros in words and output")
    memory_dropout: float = Field(0.3, ge=0.0, lt=1.0, description="share of zeros in the projected regions")


DecoderSpec = Annotated[LstmSpec | AttentionSpec, Field(discriminator="name")]
