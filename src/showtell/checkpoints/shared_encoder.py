"""One file of encoder weights for several captioners that lie side by side.

A checkpoint names it by its way from the checkpoint's own directory, so that all can be moved together and no path of
any machine is in it. What a checkpoint believes is the identity in its configuration; the file only has to match it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from showtell.encoders.compressed_weights import write_compressed
from showtell.encoders.encoder import Encoder
from showtell.encoders.weights import read_weights
from showtell.errors import CheckpointError, ConfigError, EncoderError

SHARED = "file"
"""Key of the encoder in a checkpoint's configuration: the way to the shared file."""


def check_shared(encoder: Encoder, config: Mapping[str, Any], file: Path, directory: Path) -> None:
    """Refuse a file that cannot be, or is not, the encoder's; nothing is written.

    Args:
        encoder: As it was loaded.
        config: Of the checkpoint it was loaded with.
        file: Where it shall lie.
        directory: Where the checkpoint shall lie.

    Raises:
        ConfigError: the encoder was trained along with its decoder, or the file lies inside the directory.
        EncoderError: other weights are there.
    """
    if config["encoder"]["spec"]["trainable"]:
        raise ConfigError(
            f"the encoder cannot be kept in {file}",
            found="an encoder that was trained along with its decoder and fits no other",
            mend="Name no file: such an encoder lies in the checkpoint",
        )
    if file.resolve().is_relative_to(directory.resolve()):
        raise ConfigError(
            f"the encoder cannot be kept in {file}",
            found=f"a place inside {directory}",
            mend="Name a file beside the captioner's directory",
        )
    if file.exists() and read_weights(file).sha256 != encoder.weights_sha256:
        raise EncoderError(
            f"{file} holds the weights of another encoder",
            expected=f"those of {encoder.weights}",
            mend="Name another file",
        )


def share_encoder(encoder: Encoder, file: Path, directory: Path) -> str:
    """Write an encoder's weights in compact form unless they are there, and return the way to them.

    Raises:
        CheckpointError: the file they were loaded from was replaced since.
        DataError: the file cannot be written.
    """
    if not file.exists():
        assert encoder.weights is not None, "frozen encoders come from a file"
        write_compressed(encoder.weights, file)
        check_unchanged(encoder, file)
    return Path(os.path.relpath(file.resolve(), directory.resolve())).as_posix()


def check_unchanged(encoder: Encoder, written: Path) -> None:
    """Refuse weights that are not those that the encoder was loaded with.

    Raises:
        CheckpointError: the file they were loaded from was replaced since.
    """
    changed = CheckpointError(
        f"{encoder.weights} is not what it was when the captioner was loaded",
        mend="Load the captioner again, then save it",
    )
    try:
        found = read_weights(written).sha256
    except EncoderError as error:
        raise changed from error
    if found != encoder.weights_sha256:
        raise changed


def find_shared(directory: Path, way: str) -> Path:
    """Return the file that a checkpoint's directory shares.

    Raises:
        EncoderError: it is not there.
    """
    file = directory / way
    if not file.is_file():
        raise EncoderError(
            f"the encoder that {directory} shares with its neighbours is not in its place",
            found=f"no file {file}",
            mend="Copy it along with the captioner, or name the same weights: --encoder-weights FILE "
            "(encoder_weights= in Python)",
        )
    return file
