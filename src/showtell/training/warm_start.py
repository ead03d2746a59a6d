"""Warm start: train the decoder and vocabulary of an earlier checkpoint further (``training.init_from``)."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from showtell.checkpoints.checkpoint import Checkpoint, load_checkpoint
from showtell.checkpoints.config import read_config
from showtell.checkpoints.hub import ENCODER, TOKENIZER, find_checkpoint
from showtell.checkpoints.shared_encoder import SHARED, find_shared
from showtell.config.recipe import Recipe
from showtell.encoders.encoder import Encoder, identity_differences
from showtell.errors import CheckpointError, ConfigError
from showtell.inference.onnx_files import is_export
from showtell.retrieval.datastore import Datastore
from showtell.system.console import note
from showtell.tokenizer import SPECIALS, Tokenizer

MIN_STEM, MAX_ENDING = 3, 3
"""Words with so many first letters in common, and at most so many others, are taken for forms of one word."""


def sections_of(path: Path) -> dict[str, dict[str, Any]]:
    """Return the sections of a recipe that trains a captioner further: its encoder, decoder and decoding.

    Its words are kept and those of the new captions are added, as are their images to a datastore that it has.

    Args:
        path: A checkpoint or run, or ``OWNER/NAME`` of the hub.

    Raises:
        CheckpointError: it is missing, broken or an export.
        EncoderError: the encoder file that it shares is missing.
    """
    path = find_checkpoint(path)
    if is_export(path):
        raise CheckpointError(
            f"{path} cannot be trained further",
            found="an ONNX export",
            expected="a checkpoint or a run",
            mend="Name the checkpoint that it was exported from",
        )
    directory, config = read_config(path)
    tokenizer = Tokenizer.load(directory / TOKENIZER)
    encoder = {**config["encoder"]["spec"], "trainable": False}
    if ENCODER in config["files"]:
        encoder["weights"] = str((directory / ENCODER).resolve())
    elif SHARED in config["encoder"]:
        encoder["weights"] = str(find_shared(directory, config["encoder"][SHARED]).resolve())
    return {
        "encoder": encoder,
        "decoder": config["decoder"],
        "generation": config["generation"],
        "tokenizer": {"kind": tokenizer.kind, "language": tokenizer.language},
        "training": {"init_from": str(path), "extend_vocabulary": True},
    }


def load_initial(init_from: str | None) -> Checkpoint | None:
    """Return the run or checkpoint to start from; None for new weights.

    Raises:
        CheckpointError: it is missing or broken.
    """
    return None if init_from is None else load_checkpoint(Path(init_from), with_encoder=False)


def check_initial(checkpoint: Checkpoint, recipe: Recipe, encoder: Encoder) -> None:
    """Refuse to start a recipe from the captioner of another decoder; warn of another encoder's features.

    Raises:
        ConfigError: it has another decoder or was trained on an encoder of another width.
    """
    init_from, decoder = recipe.training.init_from, recipe.decoder.name
    where = f"training.init_from={init_from} cannot be used"
    name, width = checkpoint.config["decoder"]["name"], checkpoint.config["encoder"]["width"]
    mend = f"Let encoder and decoder follow it: showtell train --from {init_from}"
    if name != decoder:
        raise ConfigError(
            where, found=f"the decoder '{name}'", expected=f"'{decoder}', the recipe's decoder", mend=mend
        )
    if width != encoder.width:
        raise ConfigError(
            where,
            found=f"a decoder for {width} channels",
            expected=f"{encoder.width}, the width of this encoder",
            mend=mend,
        )
    trained_on = checkpoint.config["encoder"]
    different = identity_differences(encoder.identity(), trained_on["identity"])
    # A fine-tuned encoder has no identity but its file.
    if different and not encoder.spec.trainable and not trained_on["spec"]["trainable"]:
        note(f"warning: {init_from} was trained on other features: {'; '.join(different)}")


def initial_datastore(checkpoint: Checkpoint | None, encoder: Encoder) -> Datastore | None:
    """Return the datastore of the checkpoint to start from, if it has one of this encoder's features."""
    if checkpoint is None or encoder.spec.trainable:
        return None
    is_other = identity_differences(encoder.identity(), checkpoint.config["encoder"]["identity"])
    return None if is_other else checkpoint.datastore


def load_decoder_weights(
    decoder: nn.Module, tokenizer: Tokenizer, checkpoint: Checkpoint, init_from: str | None
) -> None:
    """Copy the weights of a checkpoint's decoder into a new decoder; words that it lacks get rows of known words.

    Raises:
        ConfigError: their sizes differ.
    """
    weights = dict(checkpoint.model.decoder.state_dict())
    known = checkpoint.tokenizer.tokens
    if added := tokenizer.tokens[len(known) :]:
        for name in ("word_embedding.weight", "output.weight", "output.bias"):
            weights[name] = _with_rows(weights[name], known, added)
    try:
        decoder.load_state_dict(weights)
    except RuntimeError as error:
        raise ConfigError(
            f"training.init_from={init_from} cannot be used",
            found=" ".join(str(error).split()),
            expected="a decoder of the recipe's sizes",
        ) from error


def _with_rows(rows: Tensor, known: Sequence[str], added: Sequence[str]) -> Tensor:
    """Append a row for each added word: that of a known form of the word, else the mean of all words."""
    mean = rows[len(SPECIALS) :].mean(dim=0)
    forms = nearest_words(known[len(SPECIALS) :], added)
    index = {word: number for number, word in enumerate(known)}
    new = [rows[index[forms[word]]] if word in forms else mean for word in added]
    return torch.cat([rows, torch.stack(new)])


def nearest_words(known: Sequence[str], words: Sequence[str]) -> Mapping[str, str]:
    """Return a known form of each word that has one (``surfers``: ``surfer``), the one with the longest stem."""
    by_start: dict[str, list[str]] = {}
    for word in known:
        by_start.setdefault(word[:MIN_STEM], []).append(word)
    found = {}
    for word in words:
        forms = []
        for other in by_start.get(word[:MIN_STEM], []):
            stem = sum(
                1 for _ in takewhile(lambda letters: letters[0] == letters[1], zip(word, other, strict=False))
            )
            if stem >= max(MIN_STEM, len(word) - MAX_ENDING, len(other) - MAX_ENDING):
                forms.append((stem, -len(other), other))
        if forms:
            found[word] = max(forms)[2]
    return found
