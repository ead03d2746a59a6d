"""Distillation: train on the token probabilities of one or more teachers, in addition to the captions' own tokens.

A caption shows one of the possible next tokens; a teacher knows the probabilities of the others (Hinton et al. 2015,
"Distilling the Knowledge in a Neural Network"). A student as large as its teacher, trained from new weights, can
surpass it (Furlanello et al. 2018, "Born-Again Neural Networks"). Several teachers act as an ensemble.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.checkpoints.checkpoint import load_checkpoint
from showtell.decoders.base import BaseDecoder
from showtell.encoders.encoder import Encoder, identity_differences
from showtell.encoders.features import Features
from showtell.errors import ConfigError
from showtell.system.atomic import atomic_directory
from showtell.system.console import note
from showtell.tokenizer import Tokenizer
from showtell.training.objectives.log_likelihood import teacher_forced_states

TEACHER = "teacher"
"""Folder of a run with the teacher of its latest phase that started from new weights."""

MAX_UNKNOWN = 0.5
"""Largest fraction of the student's tokens that a teacher may lack."""
SHOWN = 5


class TeacherEnsemble:
    """Teachers of one vocabulary; ``weight``, 0 to 1, is that of their mean probabilities in the target.

    Before a token that a teacher does not know (its probability is 0), that teacher has no weight.
    """

    def __init__(self, models: Sequence[CaptioningModel], weight: float) -> None:
        self._models, self._weight = [model.eval() for model in models], weight

    @torch.no_grad()
    def teacher_probs(self, memory: Features, tokens: Tensor) -> Tensor:
        """Return weighted mean probabilities float32 [N, V] before each of N real tokens of int64 [P, K, T + 1]."""
        total: Tensor | None = None
        for model in self._models:
            hidden, targets, _ = teacher_forced_states(model, memory, tokens)
            probs = model.decoder.project(hidden).float().softmax(dim=1)  # [N, V]
            probs *= probs.gather(1, targets[:, None]) > 0
            total = probs if total is None else total.add_(probs)
        assert total is not None, "an ensemble needs a teacher"
        return total.mul_(self._weight / len(self._models))


def load_teacher(path: Path, tokenizer: Tokenizer, encoder: Encoder, device: torch.device) -> CaptioningModel:
    """Return a captioner as a teacher, with the student's vocabulary.

    A note counts the tokens that it does not know: they are ``<unk>`` to it, and it never generates them.

    Raises:
        ConfigError: it has another encoder, splits captions into other tokens, or knows too few of the student's.
    """
    checkpoint = load_checkpoint(path, with_encoder=False, device=device)
    what = f"{path} cannot be a teacher"
    if checkpoint.tokenizer.sha256 != tokenizer.sha256:
        ids = {token: index for index, token in enumerate(checkpoint.tokenizer.tokens)}
        unknown = [token for token in tokenizer.tokens if token not in ids]
        if (
            "bpe" in (checkpoint.tokenizer.kind, tokenizer.kind)
            or len(unknown) > MAX_UNKNOWN * tokenizer.size
        ):
            raise ConfigError(
                what,
                found=f"a vocabulary of kind {checkpoint.tokenizer.kind} that lacks {len(unknown):,} tokens",
                expected=f"one of kind {tokenizer.kind} with most of the student's {tokenizer.size:,}",
                mend="Train it on the same prepared set with the same tokenizer",
            )
        if unknown:
            shown = ", ".join(unknown[:SHOWN]) + ", ..." * (len(unknown) > SHOWN)
            note(
                f"{path} does not teach {len(unknown):,} of {tokenizer.size:,} tokens, which it lacks: {shown}"
            )
        _select_tokens(checkpoint.model.decoder, [ids.get(token) for token in tokenizer.tokens])
    differences = identity_differences(checkpoint.config["encoder"]["identity"], encoder.identity())
    if differences:
        raise ConfigError(what, found=f"another encoder: {'; '.join(differences)}")
    return checkpoint.model


def _select_tokens(decoder: BaseDecoder, ids: Sequence[int | None]) -> None:
    """Give a decoder the vocabulary of these of its ids; None: a token that it lacks."""
    device = decoder.output.weight.device
    rows = torch.tensor([Tokenizer.unk_id if index is None else index for index in ids], device=device)
    lacking = torch.tensor([index is None for index in ids], device=device)
    weights = {"weight": decoder.output.weight[rows], "bias": decoder.output.bias[rows]}
    weights["bias"] = weights["bias"].masked_fill(lacking, -torch.inf)
    for name, weight in weights.items():
        setattr(decoder.output, name, nn.Parameter(weight.detach()))
    decoder.word_embedding.weight = nn.Parameter(decoder.word_embedding.weight[rows].detach())


def save_teacher(run: Path) -> None:
    """Copy ``best/`` of a run to its teacher folder: the next phase replaces ``best/``."""
    with atomic_directory(run / TEACHER) as directory:
        # Not copytree, whose error has no reason that could be reported.
        for file in (run / "best").iterdir():
            if file.is_file():
                shutil.copyfile(file, directory / file.name)
