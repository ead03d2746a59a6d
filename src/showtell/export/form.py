"""What an export is on disk: three graphs, the tokenizer, and a ``config.json`` that says all the graphs do not.

Knows neither torch nor onnxruntime. Every file's SHA-256 stands in the configuration, so that one that was cut short
or belongs to another export is refused.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from showtell.errors import CheckpointError
from showtell.files import standing_directory
from showtell.models.hub import CONFIG, TOKENIZER
from showtell.options import DecodingOptions, StrictModel, describe_problems
from showtell.preprocessing import Preprocessing

KIND, FORMAT = "showtell export", 1
ENCODER, BEGIN, STEP = "encoder.onnx", "begin.onnx", "step.onnx"
GRAPHS = (ENCODER, BEGIN, STEP)
FILES = (*GRAPHS, TOKENIZER, CONFIG)

PICTURES, FEATURES = "pictures", ("regions", "pooled", "mask")
TOKENS, LOGITS, ATTENTION = "tokens", "logits", "attention"
AGAIN = "Export the checkpoint again"

Precision = Literal["float32", "int8"]
Axis = Literal["pictures", "hypotheses", "regions", "length"]


def state_input(name: str) -> str:
    """Return what the graphs call a tensor of the state before a step."""
    return f"state_{name}"


def state_output(name: str) -> str:
    """Return what the step's graph calls a tensor of the state after it."""
    return f"next_{name}"


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
    layout: str | None
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


class Agreement(StrictModel):
    """How the graphs compared with torch in float32 when they were written.

    Differences are the largest absolute ones; those of the logits under the same words.
    """

    pictures: int = Field(ge=1)
    drawn: bool = Field(description="the pictures were drawn scenes, for want of others")
    greedy: float = Field(ge=0, le=1, description="share of pictures with the same greedy caption")
    beam: float = Field(ge=0, le=1, description="share of pictures with the same caption by beam search")
    beams: int = Field(ge=1, description="beam width of that")
    logits: float = Field(ge=0)
    features: float = Field(ge=0)


class ExportConfig(StrictModel):
    """All of ``config.json``."""

    kind: Literal["showtell export"] = "showtell export"
    format: Literal[1] = 1
    showtell: str = Field(description="the version that wrote it")
    encoder: ExportedEncoder
    decoder: ExportedDecoder
    vocabulary: int = Field(ge=1, description="tokens V")
    search: DecodingOptions = Field(description="how it decodes unless told otherwise")
    agreement: Agreement | None = Field(None, description="none while it is being compared")
    files: dict[str, str] = Field(description="SHA-256 of the other files")


def is_export(path: Path) -> bool:
    """Return whether a directory says of itself that it is an export."""
    try:
        config = json.loads((standing_directory(path) / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("kind") == KIND


def read_config(directory: Path) -> ExportConfig:
    """Return what an export says of itself.

    Raises:
        CheckpointError: no export, of another format, or a key is missing, unknown or out of range.
    """
    path = directory / CONFIG
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
        kind, version = values["kind"], values["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{directory} is not an export", found=str(error), mend=AGAIN) from error
    if (kind, version) != (KIND, FORMAT):
        raise CheckpointError(
            f"{directory} cannot be used",
            found=f"{kind}, format {version}",
            expected=f"{KIND}, format {FORMAT}",
            mend="Use the version of showtell that wrote it, or export the checkpoint again",
        )
    try:
        config = ExportConfig.model_validate_json(json.dumps(values))
    except ValidationError as error:
        raise CheckpointError(str(describe_problems(error, ExportConfig, str(path))), mend=AGAIN) from error
    missing = sorted({*GRAPHS, TOKENIZER} - config.files.keys())
    if missing:
        raise CheckpointError(
            f"{path} cannot be used", found=f"no sum of {', '.join(missing)} under files", mend=AGAIN
        )
    return config


def read_file(directory: Path, name: str, config: ExportConfig) -> bytes:
    """Return the bytes of one of an export's files.

    Raises:
        CheckpointError: it is missing, or its bytes are others than were written.
    """
    path = directory / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path}",
            found=error.strerror or str(error),
            mend=f"Copy the whole export again. {AGAIN}",
        ) from error
    if hashlib.sha256(content).hexdigest() != config.files[name]:
        raise CheckpointError(
            f"{path} is not what this export was written with",
            found="other bytes (cut short, or of another export)",
            mend=f"Copy the whole export again. {AGAIN}",
        )
    return content
