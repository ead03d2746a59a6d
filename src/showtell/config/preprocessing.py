"""How an image is resized and normalized for an encoder."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveFloat, SerializerFunctionWrapHandler, model_serializer

from showtell.config.base import StrictModel


class CornerCrop(StrictModel):
    """One of a picture's four corners, as a window of the same shape."""

    down: Literal[0, 1] = Field(description="0: at the top, 1: at the bottom")
    right: Literal[0, 1] = Field(description="0: at the left, 1: at the right")
    share: float = Field(gt=0.0, le=1.0, description="its sides as a share of those of the whole view")


class Preprocessing(StrictModel):
    """What a picture must look like for an encoder; travels with the encoder's weights."""

    size: int = Field(224, ge=16, le=2048, description="side of the square the encoder sees, in pixels")
    resize: Literal["squash", "crop"] = Field(
        "squash",
        description="squash: all of it, aspect changed; crop: short side to size/crop, then the centre",
    )
    crop: float = Field(
        0.875, gt=0.0, le=1.0, description="share of the short side that is kept (resize: crop)"
    )
    interpolation: Literal["bilinear", "bicubic"] = Field("bicubic", description="both with antialiasing")
    mean: tuple[float, float, float] = Field(
        (0.485, 0.456, 0.406), description="subtracted, per channel of 0..1"
    )
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = Field(
        (0.229, 0.224, 0.225), description="divided by, per channel"
    )
    mirror: bool = Field(False, description="left and right change places: a second view to train on")
    corner: CornerCrop | None = Field(
        None, description="a window in a corner alone: a further view to train on"
    )

    @model_serializer(mode="wrap")
    def _name_corners_alone(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Whole views are written, and so identified, as they were before there were corners."""
        values: dict[str, Any] = write(self)
        return {name: value for name, value in values.items() if name != "corner" or value is not None}
