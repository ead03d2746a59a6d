"""Reading of a checkpoint's ``config.json``: what kind of directory it is in, and whether its files are whole."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from showtell.checkpoints.hub import CONFIG, DECODER, TOKENIZER
from showtell.config.base import describe_problems
from showtell.errors import CheckpointError
from showtell.system.atomic import resolve_swapped, sha256_file
from showtell.system.reading import ChangedValuesError, read_json
from showtell.tokenizer import MAX_TOKENS

KIND, FORMAT = "showtell checkpoint", 2
CALIBRATION = "calibration"
"""The key of a captioner's calibration, if it has one: `showtell.config.confidence.Calibration`."""
COPY_AGAIN = "Copy the whole checkpoint again, or use best/ or last/ of the run"

OTHER_DEFAULTS = (
    "Other decoding options are given to each command (--beam-size N) or, as new defaults, to a copy: "
    "showtell bundle DIR -o NEW --beam-size N"
)

Side = Annotated[int, Field(ge=1, le=2048)]


class _EncoderOutline(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    spec: dict[str, Any]
    identity: dict[str, Any]
    width: int = Field(ge=1, le=2**16)
    grid: list[Side] = Field(min_length=2, max_length=2)
    origin: str | None = None
    file: str | None = None


class _Outline(BaseModel):
    """The keys that other code relies on; what they hold is validated where it is used."""

    model_config = ConfigDict(extra="allow", strict=True)

    encoder: _EncoderOutline
    decoder: dict[str, Any]
    vocabulary: int = Field(ge=4, le=MAX_TOKENS)
    generation: dict[str, Any]
    recipe: dict[str, Any] = {}
    data: dict[str, Any] = {}
    scores: dict[str, Any] | None = None
    card: dict[str, Any] = {}


def read_config(path: Path) -> tuple[Path, dict[str, Any]]:
    """Return the directory and the configuration of a checkpoint, or of a run's ``best/``.

    Nothing on disk is changed, as a trainer may be writing there; if it swaps in a new checkpoint while this one is
    read, the new one is read.

    Raises:
        CheckpointError: not a checkpoint, of another format, or one of its files is missing, truncated or foreign.
    """
    directory = _resolve(path)
    inode = _inode(directory)
    try:
        return directory, _read_config(path, directory)
    except CheckpointError:
        replaced = _resolve(path)
        if _inode(replaced) == inode:
            raise
        return replaced, _read_config(path, replaced)


def _resolve(path: Path) -> Path:
    best = resolve_swapped(path / "best")
    return best if (best / CONFIG).exists() else resolve_swapped(path)


def _inode(directory: Path) -> int | None:
    return directory.stat().st_ino if directory.exists() else None


def _read_config(path: Path, directory: Path) -> dict[str, Any]:
    try:
        config = read_json(directory / CONFIG)
        kind, version = config["kind"], config["format"]
    except ChangedValuesError as error:
        raise CheckpointError(
            f"{directory / CONFIG} cannot be used", found=str(error), mend=f"{COPY_AGAIN}. {OTHER_DEFAULTS}"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        missing = f"no {CONFIG}" if directory.exists() else "no such directory"
        raise CheckpointError(
            f"{path} is not a checkpoint",
            found=f"a broken {CONFIG} ({error})" if (directory / CONFIG).exists() else missing,
            mend="Name a run directory, or its best/ or last/",
        ) from error
    if (kind, version) != (KIND, FORMAT):
        raise CheckpointError(
            f"{directory} cannot be used",
            found=f"{kind}, format {version}",
            expected=f"{KIND}, format {FORMAT}",
            mend="Train it again, or bundle it again, with this version of showtell"
            if kind == KIND
            else "Name a checkpoint; of an export, the one that it was exported from",
        )
    files = config.get("files")
    if not isinstance(files, dict) or not {DECODER, TOKENIZER} <= files.keys():
        found = f"a {CONFIG} without the list of files"
        raise CheckpointError(f"{directory} cannot be used", found=found, mend=COPY_AGAIN)
    for name, digest in files.items():
        file = directory / name
        if not file.is_file() or sha256_file(file) != digest:
            other = "other bytes (cut short, or of another checkpoint)"
            raise CheckpointError(
                f"{file} is not the file that this checkpoint was saved with",
                found=other if file.is_file() else "no such file",
                mend=COPY_AGAIN,
            )
    try:
        _Outline.model_validate(config)
    except ValidationError as error:
        problems = describe_problems(error, _Outline, str(directory / CONFIG))
        raise CheckpointError(str(problems), mend=COPY_AGAIN) from error
    return dict(config)
