"""What an export says of itself: the ``config.json`` beside its graphs, which holds all that they do not.

Knows neither torch nor onnxruntime. Every file's SHA-256 stands in it, so that one that was cut short or belongs to
another export is refused (`showtell.inference.onnx_files`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from showtell.checkpoints.hub import CONFIG
from showtell.config.base import StrictModel, describe_problems
from showtell.config.generation import DecodingOptions
from showtell.config.preprocessing import Preprocessing
from showtell.errors import CheckpointError
from showtell.inference.onnx_files import AGAIN, read_outline

Precision = Literal["float32", "int8"]
Axis = Literal["pictures", "hypotheses", "regions", "length"]


class StateTensor(StrictModel):
    """One tensor of what a decoder remembers."""

    name: str = Field(description="the field of the decoder's state")
    axes: tuple[Axis | int, ...] = Field(
        description="what each axis counts, or its size; length grows by the words"
    )
    constant: bool = Field(description="no step changes it: the memory that hypotheses share")


class ExportedEncoder(StrictModel):
    """The graph that looks: uint8 pictures [P, S, S, 3] in; regions [P, R, D], pooled [P, D], mask [P, R] out."""

    name: str
    stride_in: str | None
    weights: str | None = Field(description="SHA-256 of the weights it was made from")
    preprocessing: Preprocessing
    width: int = Field(ge=1, description="channels D of a region")
    grid: tuple[int, int] = Field(description="rows and columns of regions")
    precision: Precision


class ExportedDecoder(StrictModel):
    """The graphs that tell: ``begin`` makes the state of one hypothesis, ``step`` reads one token of each."""

    name: str
    state: tuple[StateTensor, ...]
    precision: Precision


class ParityReport(StrictModel):
    """How the graphs compared with torch in float32 when they were written.

    Differences are the largest absolute ones; those of the logits under the same words.
    """

    pictures: int = Field(ge=1)
    drawn: bool = Field(description="the pictures were drawn scenes, for want of others")
    greedy: float = Field(ge=0, le=1, description="share of pictures with the same greedy caption")
    beam: float = Field(ge=0, le=1, description="share of pictures with the same caption by beam search")
    beam_size: int = Field(ge=1, description="beam width of that")
    logits: float = Field(ge=0)
    features: float = Field(ge=0)


class ExportConfig(StrictModel):
    """All of ``config.json``."""

    kind: Literal["showtell export"] = "showtell export"
    format: Literal[1, 2] = 2
    showtell: str = Field(description="the version that wrote it")
    encoder: ExportedEncoder
    decoder: ExportedDecoder
    vocabulary: int = Field(ge=1, description="tokens V")
    generation: DecodingOptions = Field(description="how it decodes unless told otherwise")
    agreement: ParityReport | None = Field(None, description="none while it is being compared")
    files: dict[str, str] = Field(description="SHA-256 of the other files")


def read_config(directory: Path) -> ExportConfig:
    """Return what an export says of itself.

    Raises:
        CheckpointError: no export, of another format, or a key is missing, unknown or out of range.
    """
    values = read_outline(directory)
    try:
        return ExportConfig.model_validate_json(json.dumps(values))
    except ValidationError as error:
        problems = describe_problems(error, ExportConfig, str(directory / CONFIG))
        raise CheckpointError(str(problems), mend=AGAIN) from error
