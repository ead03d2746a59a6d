"""The checkpoints of a run: ``best/`` and ``last/``, as the trainer saves and restores them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from showtell.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from showtell.checkpoints.hub import ENCODER
from showtell.config.generation import without_retrieval
from showtell.config.recipe import Recipe, recipe_values
from showtell.encoders.encoder import build_encoder
from showtell.retrieval.datastore import Datastore
from showtell.system.atomic import atomic_directory
from showtell.training.build import Components
from showtell.training.evaluator import Evaluation
from showtell.training.predictions import save_evaluation
from showtell.training.trainer_state import TrainerState, trained_state


class RunCheckpoints:
    """Saves the model of a training into its run's directory, and restores it from there.

    With ``include_encoder``, a frozen encoder is in the checkpoints too.
    """

    def __init__(
        self, out: Path, recipe: Recipe, parts: Components, state: TrainerState, *, include_encoder: bool
    ) -> None:
        self.out, self.recipe, self.parts, self.state = out, recipe, parts, state
        self.include_encoder = include_encoder

    def num_bytes(self) -> int:
        """Return the size of ``best/`` and ``last/``, and of a new ``last/`` beside the old one."""
        parts = self.parts
        carried = self.include_encoder or parts.encoder.spec.trainable
        encoder = _num_bytes(parts.encoder.state_dict()) if carried else 0
        captioner = _num_bytes(parts.model.decoder.state_dict()) + encoder
        # Weights, average and two moments, and the initial weights of a phase that interpolates them.
        interpolates = any(phase.interpolate_init for phase in self.recipe.objective)
        last = captioner + (4 + interpolates) * _num_bytes(trained_state(parts.model))
        return captioner + 2 * last

    def lacks_encoder(self, name: str) -> bool:
        """Whether an earlier process, without ``include_encoder``, saved ``best`` or ``last``."""
        return self.include_encoder and not (self.out / name / ENCODER).exists()

    def save_best(self, evaluation: Evaluation) -> None:
        """Write ``best/``: the model's current weights, with the scores of a validation."""
        if self.parts.processes.is_main_process:
            with atomic_directory(self.out / "best") as directory:
                self._save_captioner(directory, {"scores": _scores(evaluation)})

    def save_last(self) -> None:
        """Write ``last/``: the averaged weights as a captioner, and the state to resume from."""
        if not self.parts.processes.is_main_process:
            return
        with atomic_directory(self.out / "last") as directory:
            with self.state.ema.applied():
                self._save_captioner(directory, {})
            self.state.save(directory)

    def restore_best(self) -> None:
        """Give the model the weights of ``best/``, in all processes."""
        weights = self.parts.processes.run_on_rank0(self._read_best)
        with torch.no_grad():
            for name, value in trained_state(self.parts.model).items():
                value.copy_(weights[name])

    def _read_best(self) -> dict[str, Tensor]:
        best, encoder = self.out / "best", None
        if self.recipe.encoder.trainable:
            # As a trainable network: a frozen one has its batch norms folded.
            encoder = build_encoder(self.parts.encoder.spec, weights=best / ENCODER)
        model = load_checkpoint(best, with_encoder=False).model
        model.encoder = encoder
        return model.state_dict()

    def save_evaluation(self, best: Path, evaluation: Evaluation) -> None:
        """Store the evaluation of ``best/`` in it."""
        parts = self.parts
        save_evaluation(best, parts.prepared, evaluation, parts.tokenizer, parts.encoder.grid)

    def rewrite_best(self, evaluation: Evaluation, datastore: Datastore | None) -> None:
        """Write ``best/`` again, with a datastore or the encoder; the model has its decoder's weights afterwards."""
        best = self.out / "best"
        loaded = load_checkpoint(best, with_encoder=False)
        self.parts.model.decoder.load_state_dict(loaded.model.decoder.state_dict())
        about = {name: loaded.config[name] for name in ("recipe", "data", "scores")}
        if datastore is not None:
            about["scores"] = _scores(evaluation)
        with atomic_directory(best) as directory:
            self._save_captioner(directory, about, loaded.datastore if datastore is None else datastore)
            self.save_evaluation(directory, evaluation)

    def _save_captioner(
        self, directory: Path, about: dict[str, Any], datastore: Datastore | None = None
    ) -> None:
        """Write a checkpoint of the model's current weights; one without a datastore has retrieval off."""
        parts, generation = self.parts, self.recipe.generation
        data = {
            "name": parts.prepared.manifest.get("name") or parts.prepared.directory.name,
            "format": parts.prepared.manifest["source"]["format"],
            "fingerprint": parts.prepared.fingerprint,
            "pictures": len(parts.batches.rows),
        }
        save_checkpoint(
            directory,
            decoder=parts.model.decoder.state_dict(),
            decoder_spec=self.recipe.decoder,
            tokenizer=parts.tokenizer,
            encoder=parts.encoder,
            include_encoder=self.include_encoder,
            generation=without_retrieval(generation) if datastore is None else generation,
            datastore=datastore,
            about={"recipe": recipe_values(self.recipe), "data": data, **about},
        )


def _scores(evaluation: Evaluation) -> dict[str, Any]:
    return {"values": evaluation.scores.values, "signature": evaluation.scores.signature}


def _num_bytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
