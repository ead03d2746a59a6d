"""What a decoder is made of, as recipe keys. Free of torch, so that recipes are read without it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from showtell.config.base import StrictModel


class LstmSpec(StrictModel):
    """Show and tell: the picture is the first word an LSTM reads (Vinyals et al. 2015)."""

    reads_regions: ClassVar[bool] = False

    name: Literal["lstm"] = "lstm"
    embedding: int = Field(512, ge=1, le=8192, description="word vector width E")
    hidden: int = Field(512, ge=1, le=8192, description="LSTM width H")
    layers: int = Field(1, ge=1, le=8, description="LSTM layers")
    dropout: float = Field(0.5, ge=0.0, lt=1.0, description="share of zeros in picture, words and output")
    image_head: Literal["linear", "batch-norm"] = Field(
        "linear",
        description="what makes the picture a word: linear alone, or followed by batch norm and ReLU, which listened "
        "far better where both were tried",
    )


class AttentionSpec(StrictModel):
    """Show, attend and tell: additive attention over regions, gated (Xu et al. 2015)."""

    reads_regions: ClassVar[bool] = True

    name: Literal["attention"] = "attention"
    embedding: int = Field(512, ge=1, le=8192, description="word vector width E")
    hidden: int = Field(512, ge=1, le=8192, description="LSTM width H")
    attention: int = Field(512, ge=1, le=8192, description="width of the additive attention's hidden layer")
    region_dim: int = Field(512, ge=1, le=8192, description="width that regions are projected to")
    dropout: float = Field(0.5, ge=0.0, lt=1.0, description="share of zeros in words and output")
    region_dropout: float = Field(0.3, ge=0.0, lt=1.0, description="share of zeros in the projected regions")


class StackedSpec(StrictModel):
    """Two stacked LSTMs, attention with several heads between them (after Anderson et al. 2018)."""

    reads_regions: ClassVar[bool] = True

    name: Literal["stacked"] = "stacked"
    embedding: int = Field(512, ge=1, le=8192, description="word vector width E")
    hidden: int = Field(512, ge=1, le=8192, description="width H of both LSTMs")
    region_dim: int = Field(
        512, ge=1, le=8192, description="width that regions are projected to; heads share it"
    )
    heads: int = Field(8, ge=1, le=64, description="heads of the attention")
    dropout: float = Field(
        0.5,
        ge=0.0,
        lt=1.0,
        description="share of zeros in words, picture, the upper LSTM's input, and output",
    )
    region_dropout: float = Field(0.3, ge=0.0, lt=1.0, description="share of zeros in the projected regions")

    @model_validator(mode="after")
    def _heads_share_the_memory(self) -> Self:
        _check_heads("region_dim", self.region_dim, self.heads)
        return self


class AdaptiveSpec(StrictModel):
    """Adaptive attention: what the decoder knows competes with what it sees (Lu et al. 2017)."""

    reads_regions: ClassVar[bool] = True

    name: Literal["adaptive"] = "adaptive"
    embedding: int = Field(512, ge=1, le=8192, description="width E of words, and of the picture beside them")
    hidden: int = Field(512, ge=1, le=8192, description="width H of LSTM, sentinel and projected regions")
    attention: int = Field(512, ge=1, le=8192, description="width of the additive attention's hidden layer")
    dropout: float = Field(0.5, ge=0.0, lt=1.0, description="share of zeros in words, picture and output")
    region_dropout: float = Field(0.3, ge=0.0, lt=1.0, description="share of zeros in the projected regions")


class TopDownSpec(StrictModel):
    """Two LSTMs that read one another, additive attention between them (Anderson et al. 2018)."""

    reads_regions: ClassVar[bool] = True

    name: Literal["top-down"] = "top-down"
    embedding: int = Field(512, ge=1, le=8192, description="width E of words, and of the picture beside them")
    hidden: int = Field(512, ge=1, le=8192, description="width H of both LSTMs")
    attention: int = Field(512, ge=1, le=8192, description="width of the additive attention's hidden layer")
    region_dim: int = Field(512, ge=1, le=8192, description="width that regions are projected to")
    dropout: float = Field(0.5, ge=0.0, lt=1.0, description="share of zeros in words, picture and output")
    region_dropout: float = Field(0.3, ge=0.0, lt=1.0, description="share of zeros in the projected regions")


class AttentionOnAttentionSpec(StrictModel):
    """Attention whose findings pass a gate that knows what was asked (AoANet, Huang et al. 2019)."""

    reads_regions: ClassVar[bool] = True

    name: Literal["attention-on-attention"] = "attention-on-attention"
    embedding: int = Field(512, ge=1, le=8192, description="word vector width E")
    hidden: int = Field(512, ge=1, le=8192, description="LSTM width H")
    region_dim: int = Field(
        512, ge=1, le=8192, description="width of regions, queries and findings; heads share it"
    )
    heads: int = Field(8, ge=1, le=64, description="heads of the attention, in the decoder and over regions")
    refine_layers: int = Field(
        1, ge=0, le=12, description="layers in which regions look at one another first; 6 in the paper"
    )
    dropout: float = Field(0.5, ge=0.0, lt=1.0, description="share of zeros in words and output")
    region_dropout: float = Field(
        0.3,
        ge=0.0,
        lt=1.0,
        description="share of zeros in the projected regions, and in what each refiner adds",
    )

    @model_validator(mode="after")
    def _heads_share_the_memory(self) -> Self:
        _check_heads("region_dim", self.region_dim, self.heads)
        return self


class TransformerSpec(StrictModel):
    """A small Transformer: words look at earlier words and at regions, no recurrence (Vaswani et al. 2017)."""

    reads_regions: ClassVar[bool] = True

    name: Literal["transformer"] = "transformer"
    hidden: int = Field(512, ge=1, le=8192, description="width H of words and of all layers; heads share it")
    layers: int = Field(
        2, ge=1, le=12, description="layers, each with two attentions and a feed-forward part"
    )
    heads: int = Field(8, ge=1, le=64, description="heads of each attention")
    feed_forward: int = Field(2048, ge=1, le=32768, description="width inside the feed-forward parts")
    region_dim: int = Field(512, ge=1, le=8192, description="width that regions are projected to")
    dropout: float = Field(
        0.3, ge=0.0, lt=1.0, description="share of zeros in words, in what each part adds, and in the output"
    )
    region_dropout: float = Field(0.3, ge=0.0, lt=1.0, description="share of zeros in the projected regions")

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        _check_heads("hidden", self.hidden, self.heads)
        return self


def _check_heads(name: str, width: int, heads: int) -> None:
    if width % heads:
        raise ValueError(f"{name} {width} cannot be shared by {heads} heads")


DecoderSpec = Annotated[
    LstmSpec
    | AttentionSpec
    | StackedSpec
    | AdaptiveSpec
    | TopDownSpec
    | AttentionOnAttentionSpec
    | TransformerSpec,
    Field(discriminator="name"),
]


def list_decoders() -> list[str]:
    """Return the names of the decoders."""
    specs = get_args(get_args(DecoderSpec)[0])
    return [spec.model_fields["name"].default for spec in specs]
