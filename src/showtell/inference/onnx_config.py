"""The configuration of an export: ``config.json`` beside its graphs. Needs neither torch nor onnxruntime.

It holds every file's SHA-256, so that truncated or foreign files are refused (`showtell.inference.onnx_files`).
"""

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from showtell.checkpoints.hub import CONFIG
from showtell.config.base import StrictModel, describe_problems
from showtell.config.confidence import Calibration
from showtell.config.generation import DecodingOptions
from showtell.config.preprocessing import Preprocessing
from showtell.errors import CheckpointError
from showtell.inference.onnx_files import EXPORT_AGAIN, read_outline

Precision = Literal["float32", "int8"]
Axis = Literal["images", "hypotheses", "regions", "length"]


class StateTensor(StrictModel):
    """One tensor of a decoder's state."""

    name: str = Field(description="the field of the decoder's state")
    axes: tuple[Axis | int, ...] = Field(
        description="for each axis what it counts, or its fixed size; length grows by one each step"
    )
    constant: bool = Field(description="not changed by a step: the memory that hypotheses share")


class ExportedEncoder(StrictModel):
    """The encoder graph: images uint8 [P, S, S, 3] to regions [P, R, D], pooled [P, D] and mask [P, R]."""

    name: str
    stride_in: str | None
    weights: str | None = Field(description="SHA-256 of its weights' file")
    preprocessing: Preprocessing
    width: int = Field(ge=1, description="channels D of a region")
    grid: tuple[int, int] = Field(description="rows and columns of regions")
    precision: Precision


class ExportedDecoder(StrictModel):
    """The decoder graphs: ``init`` makes the state of one hypothesis, ``step`` reads one token of each."""

    name: str
    state: tuple[StateTensor, ...]
    precision: Precision


class ParityReport(StrictModel):
    """The comparison of the graphs with torch in float32 when they were written.

    Differences are maximum absolute ones; those of the logits are under the same tokens.
    """

    num_images: int = Field(ge=1)
    synthetic: bool = Field(description="the images are drawn scenes, as none were given")
    greedy: float = Field(ge=0, le=1, description="fraction of images with the same caption by greedy search")
    beam: float = Field(ge=0, le=1, description="fraction of images with the same caption by beam search")
    beam_size: int = Field(ge=1)
    logits: float = Field(ge=0)
    features: float = Field(ge=0)


class ExportConfig(StrictModel):
    """All of ``config.json``."""

    kind: Literal["showtell export"] = "showtell export"
    format: Literal[3] = 3
    showtell: str = Field(description="the version that wrote it")
    encoder: ExportedEncoder
    decoder: ExportedDecoder
    vocabulary: int = Field(ge=1, description="tokens V")
    generation: DecodingOptions = Field(description="default decoding options")
    calibration: Calibration | None = Field(None, description="that of the checkpoint, if it has one")
    parity: ParityReport | None = Field(None, description="none until the comparison")
    files: dict[str, str] = Field(description="SHA-256 of the other files")


def read_config(directory: Path) -> ExportConfig:
    """Return an export's configuration; a CheckpointError if a key is missing, unknown or out of range."""
    try:
        return ExportConfig.model_validate_json(json.dumps(read_outline(directory)))
    except ValidationError as error:
        problems = describe_problems(error, ExportConfig, str(directory / CONFIG))
        raise CheckpointError(str(problems), mend=EXPORT_AGAIN) from error
