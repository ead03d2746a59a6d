"""The encoder section of recipes, checkpoints and cache keys. Free of torch."""

import re
from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from showtell.config.base import StrictModel
from showtell.config.preprocessing import Preprocessing

StrideIn = Literal["conv1", "conv2"]

BOTTLENECKED = ("resnet50", "resnet101", "resnet152")
RESNETS = ("resnet18", "resnet34", *BOTTLENECKED)
DENSENETS = ("densenet121", "densenet161", "densenet169", "densenet201")
SMALL = "small"
TIMM_PREFIX = "timm:"
JOIN = "+"
"""Between the names of two networks whose channels are concatenated."""
MAX_NETWORKS = 2


class EncoderSpec(StrictModel):
    """The image encoder: network, weights, preprocessing and which features it returns."""

    name: str = Field(
        "resnet50",
        description="network: resnet18, resnet34, resnet50, resnet101, resnet152, densenet121, densenet161, "
        "densenet169, densenet201, timm:NAME, or small; two frozen ResNets or DenseNets as resnet50+densenet169 or "
        "[resnet50, densenet169]: each region has the channels of both",
    )
    stride_in: StrideIn | None = Field(
        None,
        description="convolution of a bottleneck block that has stride 2 (resnet50 and deeper): conv1 (the first "
        "1x1; Caffe, Keras, MSRA) or conv2 (the 3x3; torchvision, timm); null: from the weights' metadata, else "
        "conv2",
    )
    preprocessing: Preprocessing | None = Field(
        None, description="image size and normalization; keys left out come with the weights"
    )
    out_stages: tuple[Literal[1, 2, 3, 4], ...] = Field(
        (4,),
        description="stages of a ResNet whose channels are concatenated in each region, ascending and ending with 4; "
        "earlier stages have finer detail and more color",
    )
    region_grid: int | None = Field(
        None,
        ge=1,
        le=64,
        description="rows and columns of regions, pooled from the last stage's map (ResNets, DenseNets); null: the "
        "map's own grid, 1/32 of the input size",
    )
    flip_average: bool = Field(
        False,
        description="average the features of the image and its horizontal flip: slightly better captions, 2x encoder "
        "time",
    )
    weights: str | None = Field(
        None, description="path of a local safetensors file; null: the default weights from the hub"
    )
    trainable: bool = Field(False, description="train the encoder too; false: frozen")
    width: int = Field(
        128, ge=16, le=1024, multiple_of=8, description="channels D per region of the small encoder"
    )

    @field_validator("name", mode="before")
    @classmethod
    def _join(cls, name: Any) -> Any:
        names = isinstance(name, list | tuple) and all(isinstance(each, str) for each in name)
        return JOIN.join(name) if names else name

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name == SMALL or re.fullmatch(r"timm:[\w.\-]+", name):
            return name
        names = name.split(JOIN)
        if not all(each in (*RESNETS, *DENSENETS) for each in names):
            raise ValueError(
                f"no such encoder; known: {', '.join((*RESNETS, *DENSENETS, 'timm:NAME', SMALL))}"
            )
        if len(set(names)) != len(names) or len(names) > MAX_NETWORKS:
            raise ValueError("an encoder has one network, or two different ones")
        return name

    @field_validator("stride_in")
    @classmethod
    def _has_variants(cls, layout: StrideIn | None, info: ValidationInfo) -> StrideIn | None:
        name = info.data.get("name")
        if layout is not None and name is not None and not set(name.split(JOIN)) & set(BOTTLENECKED):
            raise ValueError(f"{name} has a single layout; leave the key out")
        return layout

    @model_validator(mode="after")
    def _options_fit_the_networks(self) -> Self:
        if list(self.out_stages) != sorted(set(self.out_stages)) or self.out_stages[-1:] != (4,):
            raise ValueError("out_stages must ascend and end with 4")
        if not set(self.names) & set(RESNETS) and self.out_stages != (4,):
            raise ValueError(f"out_stages is for ResNets, not for {self.name}")
        if not set(self.names) & {*RESNETS, *DENSENETS} and self.region_grid is not None:
            raise ValueError(f"region_grid is for ResNets and DenseNets, not for {self.name}")
        if len(self.names) > 1 and self.trainable:
            raise ValueError("two networks are frozen: leave trainable out")
        return self

    @property
    def names(self) -> list[str]:
        """The names of the networks: one, or two whose channels are concatenated."""
        return self.name.split(JOIN)

    @property
    def identity_fields(self) -> dict[str, Any]:
        """The options that change the features, as JSON values; empty for the last stage's own map without flips."""
        changed = {
            "out_stages": list(self.out_stages) if len(self.out_stages) > 1 else None,
            "region_grid": self.region_grid,
            "flip_average": self.flip_average or None,
        }
        return {name: value for name, value in changed.items() if value is not None}

    @property
    def bottlenecked(self) -> str | None:
        """The network with bottleneck blocks, whose stride is in one of two convolutions; None without one."""
        return next((name for name in self.names if name in BOTTLENECKED), None)
