"""The learning-rate schedule: a pure function of the step, and a scale that is reduced on a plateau."""

import math

from showtell.config.recipe import ScheduleOptions


def lr_scale(step: int, total: int, options: ScheduleOptions) -> float:
    """Return the learning rate after ``step`` of a phase's ``total`` steps, as a fraction of the peak.

    ``cosine`` decays from 1 to ``min_lr_ratio`` (Loshchilov and Hutter 2017, equation 5, without restarts);
    ``constant`` and ``plateau`` stay at 1. All have a linear warm-up of ``warmup_steps``.
    """
    warmup = min(1.0, (step + 1) / options.warmup_steps) if options.warmup_steps else 1.0
    if options.name != "cosine":
        return warmup
    done = min(1.0, step / max(1, total))
    return warmup * (
        options.min_lr_ratio + (1.0 - options.min_lr_ratio) * 0.5 * (1.0 + math.cos(math.pi * done))
    )


class ReduceOnPlateau:
    """Multiplies the learning rate by ``factor`` after more than ``patience`` validations without improvement.

    ``lr_scale`` is the product of the factors, ``bad_validations`` counts since the last improvement or reduction.
    """

    def __init__(self, options: ScheduleOptions) -> None:
        self.options = options
        self.reset()

    def reset(self) -> None:
        """Undo the reductions, for a new phase."""
        self.lr_scale, self.bad_validations = 1.0, 0

    def update(self, is_better: bool) -> None:
        """Record a validation."""
        if self.options.name != "plateau":
            return
        self.bad_validations = 0 if is_better else self.bad_validations + 1
        if self.bad_validations > self.options.patience:
            self.lr_scale = max(self.options.min_lr_ratio, self.lr_scale * self.options.factor)
            self.bad_validations = 0

    def state(self) -> dict[str, float]:
        """Return the state for `restore`."""
        return {"lr_scale": self.lr_scale, "bad_validations": self.bad_validations}

    def restore(self, state: dict[str, float]) -> None:
        """Restore a saved state."""
        self.lr_scale, self.bad_validations = float(state["lr_scale"]), int(state["bad_validations"])
