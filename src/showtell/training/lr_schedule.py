"""How the learning rate moves: a pure function of the step, beside one number that plateaus lower."""

from __future__ import annotations

import math

from showtell.config.recipe import ScheduleOptions


def lr_scale(step: int, total: int, options: ScheduleOptions) -> float:
    """Return the learning rate of a step as a share of the peak.

    Args:
        step: Steps done before this one.
        total: Steps of the whole phase.
        options: ``cosine`` falls from 1 to ``floor`` over the phase (Loshchilov and Hutter 2017, equation 5,
            without restarts); ``constant`` and ``plateau`` stay at 1. All rise linearly over ``warmup_steps``.
    """
    rise = min(1.0, (step + 1) / options.warmup_steps) if options.warmup_steps else 1.0
    if options.name != "cosine":
        return rise
    share = min(1.0, step / max(1, total))
    return rise * (
        options.min_lr_ratio + (1.0 - options.min_lr_ratio) * 0.5 * (1.0 + math.cos(math.pi * share))
    )


class ReduceOnPlateau:
    """Multiplies the rate by ``factor`` after more than ``patience`` validations without a better score.

    Attributes:
        share: What the rate is multiplied by now.
        waited: Validations since the last better score, or since the last cut.
    """

    def __init__(self, options: ScheduleOptions) -> None:
        self.options = options
        self.reset()

    def reset(self) -> None:
        """Forget the cuts: a new phase has its own peak."""
        self.share, self.waited = 1.0, 0

    def update(self, is_better: bool) -> None:
        """Take note of a validation."""
        if self.options.name != "plateau":
            return
        self.waited = 0 if is_better else self.waited + 1
        if self.waited > self.options.patience:
            self.share = max(self.options.min_lr_ratio, self.share * self.options.factor)
            self.waited = 0

    def state(self) -> dict[str, float]:
        """Return what `restore` needs."""
        return {"share": self.share, "waited": self.waited}

    def restore(self, state: dict[str, float]) -> None:
        """Go on from a saved state."""
        self.share, self.waited = float(state["share"]), int(state["waited"])
