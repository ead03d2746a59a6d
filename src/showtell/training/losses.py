"""What training makes small."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.config.recipe import CrossEntropy, SelfCritical
from showtell.data.batches import Batch, Batches
from showtell.training.consensus import build_consensus
from showtell.training.distillation import TeacherEnsemble
from showtell.training.log_likelihood import log_likelihood, teacher_forced_states
from showtell.training.self_critical import build_self_critical

Objective = Callable[[CaptioningModel, Batch, int], tuple[Tensor, int, dict[str, float]]]
"""Takes model, batch and step; returns the summed loss, the weight to divide it by, and other sums worth logging."""


def build_objective(
    phase: CrossEntropy | SelfCritical, batches: Batches, teachers: Sequence[CaptioningModel] = ()
) -> Objective:
    """Return what a phase of a recipe makes small, on these batches, with its teachers."""
    if isinstance(phase, SelfCritical):
        return build_self_critical(phase, batches)
    together = TeacherEnsemble(teachers, phase.distillation_weight) if teachers else None
    weigh = build_consensus(batches, phase.consensus) if phase.consensus else None
    pad_id = batches.tokenizer.pad_id

    def objective(model: CaptioningModel, batch: Batch, step: int) -> tuple[Tensor, int, dict[str, float]]:
        loss, tokens = cross_entropy(
            model,
            batch,
            pad_id=pad_id,
            label_smoothing=phase.label_smoothing,
            weights=None if weigh is None else weigh(batch),
            teachers=together,
        )
        return loss, tokens, {}

    return objective


def cross_entropy(
    model: CaptioningModel,
    batch: Batch,
    *,
    pad_id: int,
    label_smoothing: float = 0.0,
    weights: Tensor | None = None,
    teachers: TeacherEnsemble | None = None,
) -> tuple[Tensor, int]:
    """Return the summed cross-entropy of all real tokens, and how many there are.

    ``weights`` float [P, K] multiply that of each caption; ``teachers`` give a share of the target.

    The sum, not the mean: the loss of a step is the sum of its parts' sums over the sum of their tokens, however
    the batch was cut. Smoothing spreads ``label_smoothing`` over the vocabulary (Szegedy et al. 2016, section 7).
    """
    memory = model.encode(batch.inputs)
    taught = None if teachers is None else teachers.teach(memory, batch.tokens, pad_id)
    held, targets, real = teacher_forced_states(model, memory, batch.tokens, pad_id)
    likelihood = log_likelihood(
        model.decoder.project(held), targets, smoothing=label_smoothing, taught=taught
    )
    if weights is not None:
        likelihood = likelihood * weights.to(likelihood).unsqueeze(2).expand(real.shape)[real]
    return -likelihood.sum(), len(likelihood)
