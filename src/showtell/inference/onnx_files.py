"""Which files an export is made of, what the graphs call their tensors, and whether the files are whole.

Neither torch nor onnxruntime nor pydantic is imported here, so that a cold command knows soon what it has to open.
The weights lie beside the graphs (ONNX's external data): onnxruntime maps them, and copies what a graph holds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from showtell.checkpoints.hub import CONFIG, TOKENIZER
from showtell.errors import CheckpointError
from showtell.system.atomic import resolve_swapped, sha256_file

KIND, FORMAT = "showtell export", 2
ENCODER, BEGIN, STEP = "encoder.onnx", "begin.onnx", "step.onnx"
GRAPHS = (ENCODER, BEGIN, STEP)


def weights_of(graph: str) -> str:
    """Return the name of the file that holds the weights of a graph."""
    return f"{graph}.data"


WEIGHTS = tuple(weights_of(graph) for graph in GRAPHS)
SUMMED = {1: (*GRAPHS, TOKENIZER), FORMAT: (*GRAPHS, *WEIGHTS, TOKENIZER)}
"""The files whose SHA-256 the configuration holds, by its format; graphs of the first hold their weights."""
FILES = (*SUMMED[FORMAT], CONFIG)

PICTURES, FEATURES = "pictures", ("regions", "pooled", "mask")
TOKENS, LOGITS, ATTENTION = "tokens", "logits", "attention"
AGAIN = "Export the checkpoint again"


def state_input(name: str) -> str:
    """Return what the graphs call a tensor of the state before a step."""
    return f"state_{name}"


def state_output(name: str) -> str:
    """Return what the step's graph calls a tensor of the state after it."""
    return f"next_{name}"


def is_export(path: Path) -> bool:
    """Return whether a directory says of itself that it is an export."""
    try:
        config = json.loads((resolve_swapped(path) / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("kind") == KIND


def read_outline(directory: Path) -> dict[str, Any]:
    """Return the JSON values of an export's configuration, of which kind, format and sums are checked.

    Raises:
        CheckpointError: no export, of another format, or a file's sum is missing.
    """
    path = directory / CONFIG
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
        kind, version = values["kind"], values["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{directory} is not an export", found=str(error), mend=AGAIN) from error
    if kind != KIND or version not in SUMMED:
        raise CheckpointError(
            f"{directory} cannot be used",
            found=f"{kind}, format {version}",
            expected=f"{KIND}, format {FORMAT}",
            mend="Use the version of showtell that wrote it, or export the checkpoint again",
        )
    sums = values.get("files")
    missing = sorted(set(SUMMED[version]) - set(sums if isinstance(sums, dict) else ()))
    if missing:
        raise CheckpointError(
            f"{path} cannot be used", found=f"no sum of {', '.join(missing)} under files", mend=AGAIN
        )
    return dict(values)


def check_file(path: Path, digest: str) -> None:
    """Check that a file of an export is the one that was written.

    Args:
        path: The file.
        digest: The SHA-256 of what was written.

    Raises:
        CheckpointError: it is missing, or its bytes are others.
    """
    try:
        found = sha256_file(path)
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path}",
            found=error.strerror or str(error),
            mend=f"Copy the whole export again. {AGAIN}",
        ) from error
    if found != digest:
        raise CheckpointError(
            f"{path} is not what this export was written with",
            found="other bytes (cut short, or of another export)",
            mend=f"Copy the whole export again. {AGAIN}",
        )
