"""How an image is resized and normalized for an encoder."""

from typing import Any, Literal

from pydantic import Field, PositiveFloat, SerializerFunctionWrapHandler, model_serializer

from showtell.config.base import Fraction, StrictModel


class CornerCrop(StrictModel):
    """A crop at one of the four corners of an image, with the image's aspect ratio."""

    down: Literal[0, 1] = Field(description="0: top, 1: bottom")
    right: Literal[0, 1] = Field(description="0: left, 1: right")
    fraction: Fraction = Field(description="its sides as a fraction of the whole view's sides")


class Preprocessing(StrictModel):
    """How an image is prepared for an encoder; stored with the encoder's weights."""

    size: int = Field(224, ge=16, le=2048, description="side of the encoder's square input, in pixels")
    resize: Literal["squash", "crop"] = Field(
        "squash",
        description="squash: the whole image, its aspect ratio changed; crop: the short side resized to size/crop, "
        "then a center crop",
    )
    crop: Fraction = Field(0.875, description="fraction of the short side that is kept (resize: crop)")
    interpolation: Literal["bilinear", "bicubic"] = Field(
        "bicubic", description="resampling filter, with antialiasing"
    )
    mean: tuple[float, float, float] = Field(
        (0.485, 0.456, 0.406), description="mean that is subtracted per RGB channel, on the scale 0 to 1"
    )
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = Field(
        (0.229, 0.224, 0.225), description="standard deviation that divides each RGB channel"
    )
    mirror: bool = Field(False, description="flip horizontally: an additional training view")
    corner: CornerCrop | None = Field(None, description="crop one corner: an additional training view")

    @model_serializer(mode="wrap")
    def _omit_missing_corner(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave ``corner`` out of whole views, so that the identity of their features does not change."""
        values: dict[str, Any] = write(self)
        return {name: value for name, value in values.items() if name != "corner" or value is not None}
