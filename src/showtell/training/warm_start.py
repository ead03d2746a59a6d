"""Warm start: train the decoder and vocabulary of an earlier checkpoint further (``training.init_from``)."""

from pathlib import Path

from torch import nn

from showtell.checkpoints.checkpoint import Checkpoint, load_checkpoint
from showtell.errors import ConfigError


def load_init_checkpoint(init_from: str | None, decoder: str, encoder_width: int) -> Checkpoint | None:
    """Return the run or checkpoint to start from; None for new weights.

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
    """Copy the weights of a checkpoint's decoder into a new decoder; a ConfigError says that their sizes differ."""
    try:
        decoder.load_state_dict(checkpoint.model.decoder.state_dict())
    except RuntimeError as error:
        raise ConfigError(
            f"training.init_from={init_from} cannot be used",
            found=" ".join(str(error).split()),
            expected="a decoder of the recipe's sizes",
        ) from error
