"""TensorBoard: event files in the run's directory (``tensorboard --logdir RUN``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from showtell.training.tracking.tracker import flatten, numbers, read_options


class TensorBoardTracker:
    """Writes event files under ``tensorboard/``; points of steps that will be done again are purged."""

    takes_back = True

    def __init__(self, resume_step: int) -> None:
        self.resume_step = resume_step

    def start(self, run: Path) -> None:
        """Open the writer; a new run begins with its recipe as text."""
        from torch.utils.tensorboard.writer import SummaryWriter

        self._step = self.resume_step
        self._writer = SummaryWriter(str(run / "tensorboard"), purge_step=self.resume_step + 1)
        if self.resume_step == 0:
            options = "\n".join(f"    {name}: {value}" for name, value in flatten(read_options(run)).items())
            self._writer.add_text("recipe", options, 0)

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Write every number under its kind."""
        self._step = step
        for name, value in numbers(values).items():
            self._writer.add_scalar(name, value, step)

    def finish(self, scores: Mapping[str, float] | None = None) -> None:
        """Write the scores, flush and close."""
        for name, value in (scores or {}).items():
            self._writer.add_scalar(f"final/{name}", value, self._step)
        self._writer.close()
