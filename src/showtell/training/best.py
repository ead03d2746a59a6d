"""What becomes of ``best/`` when a run has come to its end: judged once more, with attention, and complete."""

from __future__ import annotations

from pathlib import Path

import torch

from showtell.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from showtell.checkpoints.hub import ENCODER
from showtell.config.recipe import Recipe
from showtell.system.atomic import atomic_directory
from showtell.training.build import Parts
from showtell.training.evaluator import Judgement
from showtell.training.predictions import keep_judgement, kept_judgement
from showtell.training.trainer_state import trained_state

WRITTEN = {"kind", "format", "encoder", "decoder", "vocabulary", "search", "files"}
"""Keys of a checkpoint's configuration that `save_checkpoint` makes itself."""


def judge_best(best: Path, recipe: Recipe, parts: Parts, *, include_encoder: bool) -> Judgement:
    """Let ``best/`` caption the validation split with attention and keep what it said, unless that was done.

    The model has the weights of ``best/`` afterwards.

    Args:
        best: The checkpoint.
        recipe: The run's.
        parts: The run's.
        include_encoder: Let the checkpoint carry its encoder, if it does not yet.
    """
    processes = parts.processes
    judgement = processes.from_main(lambda: kept_judgement(best, parts.prepared))
    if judgement is None:
        restore_best(best, recipe, parts)
        judgement = parts.judge.judge(parts.model, recipe.search, attention=True)
        told = judgement
        processes.from_main(lambda: _keep(best, parts, told))
    told = judgement
    if include_encoder:
        processes.from_main(lambda: _carry_encoder(best, parts, told))
    return judgement


def restore_best(best: Path, recipe: Recipe, parts: Parts) -> None:
    """Give the model the weights of ``best/``, in all processes."""
    weights = parts.processes.from_main(lambda: _weights_of(best, recipe))
    with torch.no_grad():
        for name, value in trained_state(parts.model).items():
            value.copy_(weights[name])


def _weights_of(best: Path, recipe: Recipe) -> dict[str, torch.Tensor]:
    return load_checkpoint(best, with_encoder=recipe.encoder.trainable).model.state_dict()


def _keep(best: Path, parts: Parts, judgement: Judgement) -> None:
    keep_judgement(best, parts.prepared, judgement, parts.tokenizer, parts.encoder.grid)


def _carry_encoder(best: Path, parts: Parts, judgement: Judgement) -> None:
    """Write the checkpoint again with the encoder, where it was written without."""
    if (best / ENCODER).exists():
        return
    loaded = load_checkpoint(best, with_encoder=False)
    with atomic_directory(best) as directory:
        save_checkpoint(
            directory,
            decoder=loaded.model.decoder.state_dict(),
            decoder_spec=loaded.model.decoder.spec,
            tokenizer=loaded.tokenizer,
            encoder=parts.encoder,
            include_encoder=True,
            search=loaded.search,
            about={key: value for key, value in loaded.config.items() if key not in WRITTEN},
        )
        _keep(directory, parts, judgement)
