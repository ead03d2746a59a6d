"""Decoder architectures as recipe keys. Free of torch."""

from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from showtell.config.base import Rate, StrictModel

Width = Annotated[int, Field(ge=1, le=8192)]
Heads = Annotated[int, Field(ge=1, le=64)]


class LstmSpec(StrictModel):
    """`Show and Tell`: the image vector is the first input of an LSTM (Vinyals et al. 2015)."""

    reads_regions: ClassVar[bool] = False

    name: Literal["lstm"] = Field("lstm", description="the decoder's architecture")
    embedding: Width = Field(512, description="width E of the word embeddings")
    hidden: Width = Field(512, description="width H of the LSTM state")
    layers: int = Field(1, ge=1, le=8, description="stacked LSTM layers")
    dropout: Rate = Field(0.5, description="dropout rate of image vector, word embeddings and output")
    image_head: Literal["linear", "batch-norm"] = Field(
        "linear",
        description="projection of the image vector to width E: a linear layer, alone or followed by batch norm and "
        "ReLU, which trains better in our runs",
    )


class AttentionSpec(StrictModel):
    """`Show, Attend and Tell`: gated additive attention over regions (Xu et al. 2015)."""

    reads_regions: ClassVar[bool] = True

    name: Literal["attention"] = Field("attention", description="the decoder's architecture")
    embedding: Width = Field(512, description="width E of the word embeddings")
    hidden: Width = Field(512, description="width H of the LSTM state")
    attention: Width = Field(512, description="width of the additive attention's hidden layer")
    region_dim: Width = Field(512, description="width of the projected regions")
    dropout: Rate = Field(0.5, description="dropout rate of word embeddings and output")
    region_dropout: Rate = Field(0.3, description="dropout rate of the projected regions")


class _MultiHeadSpec(StrictModel):
    """A decoder that splits a width into heads."""

    reads_regions: ClassVar[bool] = True
    split_field: ClassVar[str] = "region_dim"  # the name of the width that the heads share

    @model_validator(mode="after")
    def _width_divides_by_heads(self) -> Self:
        width, heads = (getattr(self, name) for name in (self.split_field, "heads"))
        if width % heads:
            raise ValueError(f"{self.split_field} {width} is not a multiple of heads, {heads}")
        return self


class StackedSpec(_MultiHeadSpec):
    """Two stacked LSTMs with multi-head attention between them (after Anderson et al. 2018)."""

    name: Literal["stacked"] = Field("stacked", description="the decoder's architecture")
    embedding: Width = Field(512, description="width E of the word embeddings")
    hidden: Width = Field(512, description="width H of both LSTM states")
    region_dim: Width = Field(512, description="width of the projected regions, a multiple of heads")
    heads: Heads = Field(8, description="attention heads")
    dropout: Rate = Field(
        0.5, description="dropout rate of word embeddings, image vector, upper LSTM's input and output"
    )
    region_dropout: Rate = Field(0.3, description="dropout rate of the projected regions")


class AdaptiveSpec(StrictModel):
    """Adaptive attention: a visual sentinel competes with the regions (Lu et al. 2017)."""

    reads_regions: ClassVar[bool] = True

    name: Literal["adaptive"] = Field("adaptive", description="the decoder's architecture")
    embedding: Width = Field(512, description="width E of the word embeddings and of the image vector")
    hidden: Width = Field(512, description="width H of LSTM state, sentinel and projected regions")
    attention: Width = Field(512, description="width of the additive attention's hidden layer")
    dropout: Rate = Field(0.5, description="dropout rate of word embeddings, image vector and output")
    region_dropout: Rate = Field(0.3, description="dropout rate of the projected regions")


class TopDownSpec(StrictModel):
    """Bottom-up and top-down attention: an attention LSTM and a language LSTM (Anderson et al. 2018)."""

    reads_regions: ClassVar[bool] = True

    name: Literal["top-down"] = Field("top-down", description="the decoder's architecture")
    embedding: Width = Field(512, description="width E of the word embeddings and of the image vector")
    hidden: Width = Field(512, description="width H of both LSTM states")
    attention: Width = Field(512, description="width of the additive attention's hidden layer")
    region_dim: Width = Field(512, description="width of the projected regions")
    dropout: Rate = Field(0.5, description="dropout rate of word embeddings, image vector and output")
    region_dropout: Rate = Field(0.3, description="dropout rate of the projected regions")


class AttentionOnAttentionSpec(_MultiHeadSpec):
    """AoANet: the attention's result passes a gate that depends on the query (Huang et al. 2019)."""

    name: Literal["attention-on-attention"] = Field(
        "attention-on-attention", description="the decoder's architecture"
    )
    embedding: Width = Field(512, description="width E of the word embeddings")
    hidden: Width = Field(512, description="width H of the LSTM state")
    region_dim: Width = Field(512, description="width of regions, queries and contexts, a multiple of heads")
    heads: Heads = Field(8, description="attention heads, in the decoder and in the refining layers")
    refine_layers: int = Field(
        1, ge=0, le=12, description="self-attention layers over the regions; the paper has 6"
    )
    dropout: Rate = Field(0.5, description="dropout rate of word embeddings and output")
    region_dropout: Rate = Field(
        0.3, description="dropout rate of the projected regions and of each refining layer"
    )


class TransformerSpec(_MultiHeadSpec):
    """A small Transformer: self-attention over tokens, cross-attention to regions (Vaswani et al. 2017)."""

    split_field: ClassVar[str] = "hidden"

    name: Literal["transformer"] = Field("transformer", description="the decoder's architecture")
    hidden: Width = Field(512, description="width H of embeddings and layers, a multiple of heads")
    layers: int = Field(
        2,
        ge=1,
        le=12,
        description="layers, each with self-attention, cross-attention and a feed-forward block",
    )
    heads: Heads = Field(8, description="heads of each attention")
    feed_forward: int = Field(2048, ge=1, le=32768, description="inner width of the feed-forward blocks")
    region_dim: Width = Field(512, description="width of the projected regions")
    dropout: Rate = Field(
        0.3, description="dropout rate of embeddings, of each residual block and of the output"
    )
    region_dropout: Rate = Field(0.3, description="dropout rate of the projected regions")


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
