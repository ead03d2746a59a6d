"""The loss of each kind of training phase."""

from collections.abc import Callable, Sequence

from torch import Tensor

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.config.recipe import CrossEntropy, SelfCritical
from showtell.data.batches import Batch, Batches
from showtell.training.objectives.distillation import TeacherEnsemble
from showtell.training.objectives.log_likelihood import log_likelihood, teacher_forced_states
from showtell.training.objectives.self_critical import build_self_critical

Objective = Callable[[CaptioningModel, Batch, int], tuple[Tensor, int, dict[str, float]]]
"""Maps model, batch and step to the summed loss, the number of tokens to divide it by, and other sums to log."""


def build_objective(
    phase: CrossEntropy | SelfCritical, batches: Batches, teachers: Sequence[CaptioningModel] = ()
) -> Objective:
    """Return the objective of a phase on these batches, with the phase's teachers."""
    if isinstance(phase, SelfCritical):
        return build_self_critical(phase, batches)
    ensemble = TeacherEnsemble(teachers, phase.distillation_weight) if teachers else None

    def objective(model: CaptioningModel, batch: Batch, step: int) -> tuple[Tensor, int, dict[str, float]]:
        loss, num_tokens = cross_entropy(
            model, batch, label_smoothing=phase.label_smoothing, teachers=ensemble
        )
        return loss, num_tokens, {}

    return objective


def cross_entropy(
    model: CaptioningModel,
    batch: Batch,
    *,
    label_smoothing: float = 0.0,
    teachers: TeacherEnsemble | None = None,
) -> tuple[Tensor, int]:
    """Return the summed cross-entropy of all real tokens, and their number.

    The sum, not the mean: a step's loss is the sum over its micro-batches, divided by all their tokens, however the
    batch is split. Smoothing spreads ``label_smoothing`` over the vocabulary (Szegedy et al. 2016, section 7).
    """
    memory = model.encode(batch.inputs)
    soft_targets = None if teachers is None else teachers.teacher_probs(memory, batch.tokens)
    hidden, targets, _ = teacher_forced_states(model, memory, batch.tokens)
    likelihood = log_likelihood(
        model.decoder.project(hidden), targets, smoothing=label_smoothing, soft_targets=soft_targets
    )
    return -likelihood.sum(), len(likelihood)
