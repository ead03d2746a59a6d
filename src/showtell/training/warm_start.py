"""Warm start: train the decoder and vocabulary of an earlier checkpoint further (``training.init_from``)."""

from pathlib import Path

from torch import nn

from showtell.checkpoints.checkpoint import Checkpoint, load_checkpoint, read_config
from showtell.checkpoints.hub import DECODER
from showtell.errors import ConfigError


def init_checkpoint_hash(init_from: str | None) -> str | None:
    """Return the SHA-256 of the initial weights; None for new weights.

    Raises:
        CheckpointError: ``init_from`` is not a checkpoint.
    """
    return None if init_from is None else str(read_config(Path(init_from))[1]["files"][DECODER])


def load_init_checkpoint(init_from: str | None, decoder: str, encoder_width: int) -> Checkpoint | None:
    """Return the checkpoint to start from; None for new weights.

    Args:
        init_from: A run or checkpoint.
        decoder: The name of the recipe's decoder.
        encoder_width: Channels per region of the recipe's encoder.

    Raises:
        CheckpointError: it is missing or broken.
        ConfigError: it has another decoder or was trained on an encoder of another width.
    """
    if init_from is None:
        return None
    checkpoint = load_checkpoint(Path(init_from), with_encoder=False)
    where = f"training.init_from={init_from} cannot be used"
    name, width = checkpoint.config["decoder"]["name"], checkpoint.config["encoder"]["width"]
    if name != decoder:
        raise ConfigError(
            where,
            found=f"the decoder '{name}'",
            expected=f"'{decoder}', the recipe's decoder",
            mend=f"Choose that decoder with --set decoder.name={name} and its sizes",
        )
    if width != encoder_width:
        raise ConfigError(
            where,
            found=f"a decoder for {width} channels",
            expected=f"{encoder_width}, the width of this encoder",
            mend="Train with the encoder section of its recipe",
        )
    return checkpoint


def load_decoder_weights(decoder: nn.Module, checkpoint: Checkpoint, init_from: str | None) -> None:
    """Copy the weights of a checkpoint's decoder into a new decoder.

    Raises:
        ConfigError: their sizes differ.
    """
    try:
        decoder.load_state_dict(checkpoint.model.decoder.state_dict())
    except RuntimeError as error:
        raise ConfigError(
            f"training.init_from={init_from} cannot be used",
            found=" ".join(str(error).split()),
            expected="a decoder of the recipe's sizes",
        ) from error
