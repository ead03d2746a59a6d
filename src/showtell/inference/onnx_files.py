"""The files of an export, the names of the graphs' tensors, and the check of the files.

Imports none of torch, onnxruntime and pydantic, so that a cold start knows early which graphs to open. The weights
are in files beside the graphs (ONNX's external data): onnxruntime memory-maps them, but would copy those inside a
graph.
"""

from pathlib import Path
from typing import Any

from showtell.checkpoints.hub import CONFIG, DATASTORE, TOKENIZER
from showtell.errors import CheckpointError
from showtell.system.atomic import resolve_swapped, sha256_file
from showtell.system.reading import ChangedValuesError, read_json

KIND, FORMAT = "showtell export", 3
ENCODER, INIT, STEP = "encoder.onnx", "init.onnx", "step.onnx"
GRAPHS = (ENCODER, INIT, STEP)


def weights_of(graph: str) -> str:
    """Return the name of the file with the weights of a graph."""
    return f"{graph}.data"


HASHED = (*GRAPHS, *map(weights_of, GRAPHS), TOKENIZER)
"""The files that an export needs, whose SHA-256 the configuration holds."""
FILES = (*HASHED, DATASTORE, CONFIG)

IMAGES, FEATURES = "images", ("regions", "pooled", "mask")
TOKENS, LOGITS, ATTENTION = "tokens", "logits", "attention"
EXPORT_AGAIN = "Export the checkpoint again"


def state_input(name: str) -> str:
    """Return the graphs' name for a state tensor before a step."""
    return f"state_{name}"


def state_output(name: str) -> str:
    """Return the step graph's name for a state tensor after the step."""
    return f"next_{name}"


def is_export(path: Path) -> bool:
    """Return whether a directory's configuration is that of an export."""
    try:
        config = read_json(resolve_swapped(path) / CONFIG)
    except ChangedValuesError:
        # Its own reader says what is wrong; a checkpoint's would name the wrong command.
        return (path / ENCODER).is_file()
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("kind") == KIND


def read_outline(directory: Path) -> dict[str, Any]:
    """Return the JSON values of an export's configuration; a CheckpointError if kind, format or files are wrong."""
    path = directory / CONFIG
    try:
        values: Any = read_json(path)
        kind, version = values["kind"], values["format"]
    except ChangedValuesError as error:
        mend = f"{EXPORT_AGAIN}. Decoding options are given to each command: --beam-size N"
        raise CheckpointError(f"{path} cannot be used", found=str(error), mend=mend) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{directory} is not an export", found=str(error), mend=EXPORT_AGAIN) from error
    if (kind, version) != (KIND, FORMAT):
        raise CheckpointError(
            f"{directory} cannot be used",
            found=f"{kind}, format {version}",
            expected=f"{KIND}, format {FORMAT}",
            mend=EXPORT_AGAIN,
        )
    files = values.get("files")
    missing = sorted(set(HASHED) - set(files if isinstance(files, dict) else ()))
    if missing:
        found = f"no SHA-256 of {', '.join(missing)} under files"
        raise CheckpointError(f"{path} cannot be used", found=found, mend=EXPORT_AGAIN)
    return dict(values)


def check_file(path: Path, digest: str) -> None:
    """Raise a CheckpointError if a file of an export is missing or has another SHA-256 than the file written."""
    mend = f"Copy the whole export again. {EXPORT_AGAIN}"
    try:
        found = sha256_file(path)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}", found=error.strerror or str(error), mend=mend) from error
    if found != digest:
        other = "other bytes (cut short, or of another export)"
        raise CheckpointError(
            f"{path} is not the file that this export was written with", found=other, mend=mend
        )
