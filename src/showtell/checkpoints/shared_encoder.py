"""One file of encoder weights for several captioners in neighboring directories.

A checkpoint stores the file's path relative to its own directory, so they can be moved together. The encoder's
identity in the configuration is authoritative; the file must match it.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from showtell.encoders.compressed_weights import write_compressed
from showtell.encoders.encoder import Encoder
from showtell.encoders.weights import read_weights
from showtell.errors import CheckpointError, ConfigError, EncoderError

SHARED = "file"
"""Key of the encoder in a checkpoint's configuration: the relative path of the shared file."""


def check_shared(encoder: Encoder, config: Mapping[str, Any], file: Path, directory: Path) -> None:
    """Refuse to share an encoder in a file.

    Raises:
        ConfigError: the encoder was fine-tuned, or the file is inside the captioner's ``directory``.
        EncoderError: the file has other weights.
    """
    failed = f"the encoder cannot be shared in {file}"
    if config["encoder"]["spec"]["trainable"]:
        raise ConfigError(
            failed,
            found="a fine-tuned encoder, which fits only its own decoder",
            mend="Name no file: the checkpoint holds such an encoder",
        )
    if file.resolve().is_relative_to(directory.resolve()):
        mend = "Name a file beside the captioner's directory"
        raise ConfigError(failed, found=f"a path inside {directory}", mend=mend)
    if file.exists() and read_weights(file).sha256 != encoder.weights_sha256:
        raise EncoderError(
            f"{file} holds the weights of another encoder",
            expected=f"those of {encoder.weights}",
            mend="Name another file",
        )


def write_shared(encoder: Encoder, file: Path, directory: Path) -> str:
    """Write an encoder's weights in compressed form if the file is missing; return its path from the directory."""
    if not file.exists():
        assert encoder.weights is not None, "frozen encoders come from a file"
        write_compressed(encoder.weights, file)
        check_unchanged(encoder, file)
    return Path(os.path.relpath(file.resolve(), directory.resolve())).as_posix()


def check_unchanged(encoder: Encoder, written: Path) -> None:
    """Raise a CheckpointError if the written weights are not those that the encoder was loaded with."""
    changed = CheckpointError(
        f"{encoder.weights} was changed after the captioner was loaded",
        mend="Load the captioner again, then save it",
    )
    try:
        found = read_weights(written).sha256
    except EncoderError as error:
        raise changed from error
    if found != encoder.weights_sha256:
        raise changed


def find_shared(directory: Path, relative_path: str) -> Path:
    """Return the shared file of a checkpoint's directory; an EncoderError if it is missing."""
    file = directory / relative_path
    if not file.is_file():
        raise EncoderError(
            f"the shared encoder of {directory} is missing",
            found=f"no file {file}",
            mend="Copy it along with the captioner, or name the same weights: --encoder-weights FILE "
            "(encoder_weights= in Python)",
        )
    return file
