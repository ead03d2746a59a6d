"""Captioners that teach another: what they think the next word may be is learned beside the word that was said.

Of the words that a caption might have gone on with it shows one; a captioner knows the odds of the others as well
(Hinton et al. 2015, "Distilling the Knowledge in a Neural Network"). One that is as large as its teacher, and learns
from it anew, can end better than it (Furlanello et al. 2018, "Born-Again Neural Networks"); several teachers together
are what an ensemble is, in the time of one network.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.checkpoints.checkpoint import load_checkpoint, read_config
from showtell.checkpoints.hub import DECODER
from showtell.config.recipe import CrossEntropy, Recipe
from showtell.encoders.encoder import Encoder, identity_differences
from showtell.encoders.features import Features
from showtell.errors import ConfigError
from showtell.system.atomic import atomic_directory
from showtell.tokenizer import Tokenizer
from showtell.training.log_likelihood import teacher_forced_states

TEACHER = "teacher"
"""Where a run keeps the captioner that taught its latest phase with new weights."""


class TeacherEnsemble:
    """Captioners that read along.

    Args:
        models: At least one, of the vocabulary that is learned; they are put into eval mode.
        share: Of their mean probabilities in what is learned, 0 to 1.
    """

    def __init__(self, models: Sequence[CaptioningModel], share: float) -> None:
        self._models, self._share = [model.eval() for model in models], share

    @torch.no_grad()
    def teach(self, memory: Features, tokens: Tensor, pad_id: int) -> Tensor:
        """Return their mean probabilities times their share, float32 [N, V], before each of N tokens.

        Args:
            memory: What the encoder saw of P pictures.
            tokens: int64 [P, K, T + 1], see `teacher_forced_states`.
            pad_id: What is not read.
        """
        total: Tensor | None = None
        for model in self._models:
            held, _, _ = teacher_forced_states(model, memory, tokens, pad_id)
            odds = model.decoder.project(held).float().softmax(dim=1)  # [N, V]
            total = odds if total is None else total.add_(odds)
        assert total is not None, "nobody teaches"
        return total.mul_(self._share / len(self._models))


def teacher_identities(recipe: Recipe) -> list[str]:
    """Return the SHA-256 of the weights of all teachers of a recipe, phase by phase.

    Raises:
        CheckpointError: one is no captioner.
    """
    phases = [phase for phase in recipe.objective if isinstance(phase, CrossEntropy)]
    return [str(read_config(Path(path))[1]["files"][DECODER]) for phase in phases for path in phase.teachers]


def load_teacher(path: Path, tokenizer: Tokenizer, encoder: Encoder, device: torch.device) -> CaptioningModel:
    """Return a captioner that can teach a vocabulary through an encoder.

    Raises:
        CheckpointError: it is no captioner, or it is broken.
        ConfigError: it has another vocabulary, or sees through another encoder.
    """
    checkpoint = load_checkpoint(path, with_encoder=False, device=device)
    what = f"{path} cannot teach"
    if checkpoint.tokenizer.sha256 != tokenizer.sha256:
        raise ConfigError(
            what,
            found=f"a vocabulary of {checkpoint.tokenizer.size:,} tokens",
            expected=f"the same {tokenizer.size:,} tokens as are learned",
            mend="Train it on the same prepared set with the same tokenizer",
        )
    differences = identity_differences(checkpoint.config["encoder"]["identity"], encoder.identity())
    if differences:
        raise ConfigError(what, found=f"another encoder: {'; '.join(differences)}")
    return checkpoint.model


def save_teacher(run: Path) -> None:
    """Keep what is best of a run so far as the teacher of its next phase; ``best/`` will be of that phase."""
    with atomic_directory(run / TEACHER) as directory:
        for file in (run / "best").iterdir():
            if file.is_file():
                shutil.copyfile(file, directory / file.name)
