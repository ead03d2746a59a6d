"""Distillation: train on the token probabilities of one or more teachers, in addition to the captions' own tokens.

A caption shows one of the possible next tokens; a teacher knows the probabilities of the others (Hinton et al. 2015,
"Distilling the Knowledge in a Neural Network"). A student as large as its teacher, trained from new weights, can
surpass it (Furlanello et al. 2018, "Born-Again Neural Networks"). Several teachers act as an ensemble.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.checkpoints.checkpoint import load_checkpoint
from showtell.encoders.encoder import Encoder, identity_differences
from showtell.encoders.features import Features
from showtell.errors import ConfigError
from showtell.system.atomic import atomic_directory
from showtell.tokenizer import Tokenizer
from showtell.training.objectives.log_likelihood import teacher_forced_states

TEACHER = "teacher"
"""Folder of a run with the teacher of its latest phase that started from new weights."""


class TeacherEnsemble:
    """Teachers of one vocabulary; ``weight``, 0 to 1, is that of their mean probabilities in the target."""

    def __init__(self, models: Sequence[CaptioningModel], weight: float) -> None:
        self._models, self._weight = [model.eval() for model in models], weight

    @torch.no_grad()
    def teacher_probs(self, memory: Features, tokens: Tensor) -> Tensor:
        """Return weighted mean probabilities float32 [N, V] before each of N real tokens of int64 [P, K, T + 1]."""
        total: Tensor | None = None
        for model in self._models:
            hidden, _, _ = teacher_forced_states(model, memory, tokens)
            probs = model.decoder.project(hidden).float().softmax(dim=1)  # [N, V]
            total = probs if total is None else total.add_(probs)
        assert total is not None, "an ensemble needs a teacher"
        return total.mul_(self._weight / len(self._models))


def load_teacher(path: Path, tokenizer: Tokenizer, encoder: Encoder, device: torch.device) -> CaptioningModel:
    """Return a captioner as a teacher; a ConfigError says that it has another vocabulary or another encoder."""
    checkpoint = load_checkpoint(path, with_encoder=False, device=device)
    what = f"{path} cannot be a teacher"
    if checkpoint.tokenizer.sha256 != tokenizer.sha256:
        raise ConfigError(
            what,
            found=f"a vocabulary of {checkpoint.tokenizer.size:,} tokens",
            expected=f"the same {tokenizer.size:,} tokens as the student's",
            mend="Train it on the same prepared set with the same tokenizer",
        )
    differences = identity_differences(checkpoint.config["encoder"]["identity"], encoder.identity())
    if differences:
        raise ConfigError(what, found=f"another encoder: {'; '.join(differences)}")
    return checkpoint.model


def save_teacher(run: Path) -> None:
    """Copy ``best/`` of a run to its teacher folder: the next phase replaces ``best/``."""
    with atomic_directory(run / TEACHER) as directory:
        # Not copytree, whose error has no reason that could be reported.
        for file in (run / "best").iterdir():
            if file.is_file():
                shutil.copyfile(file, directory / file.name)
