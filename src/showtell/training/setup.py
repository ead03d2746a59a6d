"""The setup of a training, before anything large is built: recipe with all its numbers, data, encoder, vocabulary.

A run that is resumed has its own vocabulary, so that it does not depend on how this version normalizes captions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from showtell.checkpoints.checkpoint import Checkpoint, common_holdout
from showtell.checkpoints.config import read_config
from showtell.config.recipe import Recipe
from showtell.config.tokenizer import TokenizerOptions
from showtell.data.prepared import PreparedSet
from showtell.encoders.encoder import Encoder, build_encoder
from showtell.errors import ConfigError
from showtell.generation import build_constraints
from showtell.system.console import note
from showtell.tokenizer import Tokenizer
from showtell.training.adapt import adapt_recipe
from showtell.training.device import DeviceConfig
from showtell.training.distributed import DistributedContext
from showtell.training.run_dir import (
    check_run,
    known_adapted_keys,
    provenance,
    read_stored,
    with_encoder_weights,
)
from showtell.training.warm_start import check_initial, load_initial
from showtell.training.word_counts import count_words, training_captions


@dataclass(frozen=True)
class TrainingSetup:
    """What a training starts from."""

    recipe: Recipe
    adapted: Sequence[str]  # a line for each adapted number
    prepared: PreparedSet
    encoder: Encoder
    initial: Checkpoint | None  # of training.init_from
    tokenizer: Tokenizer
    origin: Mapping[str, Any]  # see `provenance`


def set_up_training(
    recipe: Recipe,
    *,
    data: Path,
    out: Path,
    compute: DeviceConfig,
    encoder_weights: Path | None = None,
    restart: bool = False,
    processes: DistributedContext | None = None,
) -> TrainingSetup:
    """Return the setup of a new run, or of the one in ``out``; changes nothing on disk.

    Raises:
        ConfigError: ``out`` holds another run, ``training.init_from`` is missing or does not fit, or the vocabulary
            lacks words of ``generation``.
        CheckpointError: ``training.init_from`` or a teacher is not a checkpoint.
        DataError: ``data`` is not a prepared set, or ``out`` is something else than a run.
    """
    processes = processes or DistributedContext()
    if recipe.training.extend_vocabulary and recipe.training.init_from is None:
        raise ConfigError(
            "training.extend_vocabulary is set, but no captioner whose vocabulary it extends",
            mend="Name the captioner to train further: showtell train --from CHECKPOINT, or training.init_from",
        )
    stored = None if restart else processes.run_on_rank0(partial(read_stored, out))
    recipe = with_encoder_weights(recipe, stored, encoder_weights)
    if stored is not None:
        adapt = known_adapted_keys(recipe, stored.values)
        recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"adapt": adapt})})
    prepared = PreparedSet.load(data).hold_out(recipe.data.holdout)
    initial = load_initial(recipe.training.init_from)
    known = None if initial is None else initial.tokenizer
    tokenizer = None if stored is None else stored.tokenizer
    if tokenizer is None and known is None and recipe.tokenizer.kind == "bpe":
        # Its pieces are the lengths of captions, and none of its numbers are adapted.
        tokenizer = fit_tokenizer(recipe.tokenizer, prepared)
    recipe, adapted = adapt_recipe(recipe, prepared, known, counted=tokenizer)
    encoder = build_recipe_encoder(recipe, compute)
    if initial is not None:
        check_initial(initial, recipe, encoder)
    if recipe.data.holdout:
        _warn_of_learned_images(recipe, prepared)
    origin = provenance(recipe, prepared, encoder, initial)
    processes.run_on_rank0(lambda: check_run(out, recipe, origin, restart=restart))
    if tokenizer is None:
        tokenizer = _new_tokenizer(recipe, prepared, known)
    build_constraints(recipe.generation, tokenizer)  # refuses now what the first validation would
    return TrainingSetup(recipe, adapted, prepared, encoder, initial, tokenizer, origin)


def _warn_of_learned_images(recipe: Recipe, prepared: PreparedSet) -> None:
    """Say which earlier captioners, to start from or to be taught by, have learned from held-out images."""
    teachers = [path for phase in recipe.objective for path in phase.teachers]
    for path in filter(None, (recipe.training.init_from, *teachers)):
        config = read_config(Path(path))[1]
        if config.get("data", {}).get("fingerprint") == prepared.fingerprint:
            learned = recipe.data.holdout - common_holdout([config], prepared.fingerprint)
            if learned > 0:
                note(
                    f"warning: {path} has learned from {learned:,} of the {recipe.data.holdout:,} held-out images, "
                    "which raises their scores. Train it with the same --holdout"
                )


def build_recipe_encoder(recipe: Recipe, compute: DeviceConfig) -> Encoder:
    """Build a recipe's encoder; the recipe's seed draws the weights of a new one."""
    torch.manual_seed(recipe.training.seed)
    return build_encoder(recipe.encoder, device=compute.device)


def fit_tokenizer(options: TokenizerOptions, prepared: PreparedSet) -> Tokenizer:
    """Fit the vocabulary on the captions of the training split only."""
    return Tokenizer.fit(
        training_captions(prepared),
        kind=options.kind,
        language=options.language,
        min_count=options.min_count,
        max_size=options.max_size,
    )


def _new_tokenizer(recipe: Recipe, prepared: PreparedSet, known: Tokenizer | None) -> Tokenizer:
    """Return a new vocabulary, or that of the initial checkpoint, with the words that it lacks if they are wanted."""
    if known is None:
        return fit_tokenizer(recipe.tokenizer, prepared)
    if not recipe.training.extend_vocabulary or known.kind == "bpe":
        return known
    counts = count_words(training_captions(prepared), known.split)
    words = counts.new_words(recipe.tokenizer.min_count, set(known.tokens))
    if recipe.tokenizer.max_size is not None:
        words = words[: max(0, recipe.tokenizer.max_size - known.size)]
    return known.extended(words) if words else known
