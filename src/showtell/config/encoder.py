"""Which encoder is meant: the part of a recipe, a checkpoint and a cache key that needs no torch."""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from showtell.config.base import StrictModel
from showtell.config.preprocessing import Preprocessing

StrideIn = Literal["conv1", "conv2"]

BOTTLENECKED = ("resnet50", "resnet101", "resnet152")
RESNETS = ("resnet18", "resnet34", *BOTTLENECKED)
SMALL = "small"
TIMM_PREFIX = "timm:"


class EncoderSpec(StrictModel):
    """The network that looks at the pictures, its weights and what it wants to see."""

    name: str = Field(
        "resnet50", description="resnet18, resnet34, resnet50, resnet101, resnet152, timm:NAME, or small"
    )
    stride_in: Literal["conv1", "conv2"] | None = Field(
        None,
        description="where a bottleneck stage has its stride 2: conv1 (the first 1x1; Caffe, Keras, MSRA) or "
        "conv2 (the 3x3; torchvision, timm); none: as the weights' metadata say, else conv2; from resnet50 on",
    )
    preprocessing: Preprocessing | None = Field(
        None, description="size and normalisation of the pictures; what is not said comes with the weights"
    )
    out_stages: tuple[Literal[1, 2, 3, 4], ...] = Field(
        (4,),
        description="stages of a ResNet whose channels a region has, ascending, the last among them: earlier ones "
        "see finer and know more of colours",
    )
    region_grid: int | None = Field(
        None,
        ge=1,
        le=64,
        description="rows and columns of regions, means over the cells of the last stage's map (ResNets); none: as "
        "many as it has, a 32nd of the pixels",
    )
    flip_average: bool = Field(
        False,
        description="look at the mirror image too and take the mean, turned back: somewhat better captions for twice "
        "the looking",
    )
    weights: str | None = Field(None, description="a local safetensors file; none: the default from the hub")
    trainable: bool = Field(False, description="train the encoder too; else it is frozen")
    width: int = Field(
        128, ge=16, le=1024, multiple_of=8, description="channels D of the small encoder's regions"
    )

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in (*RESNETS, SMALL) and not re.fullmatch(r"timm:[\w.\-]+", name):
            known = ", ".join((*RESNETS, "timm:NAME", SMALL))
            raise ValueError(f"no such encoder; known: {known}")
        return name

    @field_validator("stride_in")
    @classmethod
    def _has_variants(cls, layout: StrideIn | None, info: ValidationInfo) -> StrideIn | None:
        name = info.data.get("name")
        if layout is not None and name is not None and name not in BOTTLENECKED:
            raise ValueError(f"{name} has one layout only; leave the key out")
        return layout

    @model_validator(mode="after")
    def _stages_are_a_resnets(self) -> Self:
        if list(self.out_stages) != sorted(set(self.out_stages)) or self.out_stages[-1:] != (4,):
            raise ValueError("out_stages must ascend and end with 4")
        if self.name not in RESNETS and (self.out_stages != (4,) or self.region_grid is not None):
            raise ValueError(f"out_stages and region_grid are for ResNets, not for {self.name}")
        return self

    @property
    def identity_fields(self) -> dict[str, Any]:
        """What is read beside the usual, as JSON values: nothing where it is the last stage's own map, seen once."""
        asked = {
            "out_stages": list(self.out_stages) if len(self.out_stages) > 1 else None,
            "region_grid": self.region_grid,
            "flip_average": self.flip_average or None,
        }
        return {name: value for name, value in asked.items() if value is not None}

    @property
    def has_stride_variants(self) -> bool:
        """Whether there are two layouts to choose from: ours, with bottlenecks."""
        return self.name in BOTTLENECKED
