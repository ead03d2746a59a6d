"""Where a training starts: with a new decoder, or with decoder and vocabulary of a captioner trained before."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from showtell.checkpoints.checkpoint import Checkpoint, load_checkpoint, read_config
from showtell.checkpoints.hub import DECODER
from showtell.config.recipe import Recipe
from showtell.errors import ConfigError


def init_checkpoint_hash(recipe: Recipe) -> str | None:
    """Return the SHA-256 of the weights that a recipe starts from; None where it starts anew.

    Raises:
        CheckpointError: there is no captioner.
    """
    if recipe.training.init_from is None:
        return None
    return str(read_config(Path(recipe.training.init_from))[1]["files"][DECODER])


def load_init_checkpoint(recipe: Recipe, encoder_width: int) -> Checkpoint | None:
    """Return the captioner that a recipe starts from; None where it starts anew.

    Raises:
        CheckpointError: there is none, or it is broken.
        ConfigError: its decoder is another than the recipe's, or reads another encoder.
    """
    if recipe.training.init_from is None:
        return None
    start = load_checkpoint(Path(recipe.training.init_from), with_encoder=False)
    where = f"training.init_from={recipe.training.init_from} cannot be used"
    name = start.config["decoder"]["name"]
    if name != recipe.decoder.name:
        raise ConfigError(
            where,
            found=f"the decoder '{name}'",
            expected=f"'{recipe.decoder.name}', as the recipe says",
            mend=f"Give the recipe that decoder, with --set decoder.name={name} and its sizes",
        )
    width = start.config["encoder"]["width"]
    if width != encoder_width:
        raise ConfigError(
            where, found=f"a decoder for {width} channels", expected=f"{encoder_width}, as this encoder has"
        )
    return start


def load_decoder_weights(decoder: nn.Module, start: Checkpoint, recipe: Recipe) -> None:
    """Give a new decoder the weights of an earlier one.

    Raises:
        ConfigError: their sizes differ.
    """
    try:
        decoder.load_state_dict(start.model.decoder.state_dict())
    except RuntimeError as error:
        raise ConfigError(
            f"training.init_from={recipe.training.init_from} cannot be used",
            found=" ".join(str(error).split()),
            expected="a decoder of the sizes that the recipe says",
        ) from error
