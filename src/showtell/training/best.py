"""What becomes of ``best/`` when a run has come to its end: judged once more, with attention, and complete."""

from __future__ import annotations

from pathlib import Path

import torch

from showtell.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from showtell.checkpoints.hub import ENCODER
from showtell.config.recipe import Recipe
from showtell.system.atomic import atomic_directory
from showtell.training.build import Components
from showtell.training.evaluator import Evaluation
from showtell.training.predictions import load_evaluation, save_evaluation
from showtell.training.trainer_state import trained_state

WRITTEN = {"kind", "format", "encoder", "decoder", "vocabulary", "generation", "files"}
"""Keys of a checkpoint's configuration that `save_checkpoint` makes itself."""


def evaluate_best(best: Path, recipe: Recipe, parts: Components, *, include_encoder: bool) -> Evaluation:
    """Let ``best/`` caption the validation split with attention and keep what it said, unless that was done.

    The model has the weights of ``best/`` afterwards.

    Args:
        best: The checkpoint.
        recipe: The run's.
        parts: The run's.
        include_encoder: Let the checkpoint carry its encoder, if it does not yet.
    """
    processes = parts.processes
    evaluation = processes.broadcast_from_rank0(lambda: load_evaluation(best, parts.prepared))
    if evaluation is None:
        restore_best(best, recipe, parts)
        evaluation = parts.evaluator.evaluate(parts.model, recipe.generation, attention=True)
        told = evaluation
        processes.broadcast_from_rank0(lambda: _keep(best, parts, told))
    told = evaluation
    if include_encoder:
        processes.broadcast_from_rank0(lambda: _carry_encoder(best, parts, told))
    return evaluation


def restore_best(best: Path, recipe: Recipe, parts: Components) -> None:
    """Give the model the weights of ``best/``, in all processes."""
    weights = parts.processes.broadcast_from_rank0(lambda: _weights_of(best, recipe))
    with torch.no_grad():
        for name, value in trained_state(parts.model).items():
            value.copy_(weights[name])


def _weights_of(best: Path, recipe: Recipe) -> dict[str, torch.Tensor]:
    return load_checkpoint(best, with_encoder=recipe.encoder.trainable).model.state_dict()


def _keep(best: Path, parts: Components, evaluation: Evaluation) -> None:
    save_evaluation(best, parts.prepared, evaluation, parts.tokenizer, parts.encoder.grid)


def _carry_encoder(best: Path, parts: Components, evaluation: Evaluation) -> None:
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
            generation=loaded.generation,
            about={key: value for key, value in loaded.config.items() if key not in WRITTEN},
        )
        _keep(directory, parts, evaluation)
