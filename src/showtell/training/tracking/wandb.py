"""Weights & Biases; its own variables choose the place (``WANDB_MODE=offline``, ``WANDB_PROJECT``)."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from showtell.system.console import note
from showtell.training.tracking.tracker import PROJECT, keep_id, numbers, read_id, read_options


class WandbTracker:
    """Goes on with the same run after an interruption: its id is kept in the run's directory."""

    takes_back = False

    def __init__(self, resume_step: int) -> None:
        self.resume_step = resume_step

    def start(self, run: Path) -> None:
        """Begin or continue the run at the service, or in files under ``wandb/`` when offline."""
        import wandb

        id_ = read_id(run, "wandb")
        if id_ is None:
            id_ = secrets.token_hex(4)
            # Before the service hears of it: killed in between, the run still has one id only.
            keep_id(run, "wandb", id_)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            id=id_,
            name=run.resolve().name,
            resume="allow",
            dir=str(run),
            config=read_options(run),
            # Progress is ours to show, and stdout carries results alone.
            settings=wandb.Settings(silent=True, console="off"),
        )
        # The trainer's step is the axis: wandb's own counter would refuse rows of one step sent apart.
        self._run.define_metric("trainer/step")
        self._run.define_metric("*", step_metric="trainer/step")
        is_kept = self._run.offline or self._run.disabled
        note(f"wandb: run {id_}, kept under {run / 'wandb'}" if is_kept else f"wandb: {self._run.url}")

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Send every number under its kind."""
        self._run.log({**numbers(values), "trainer/step": step})

    def finish(self, scores: Mapping[str, float] | None = None) -> None:
        """Send the scores as the run's summary, and wait until all is sent."""
        self._run.summary.update({f"final/{name}": value for name, value in (scores or {}).items()})
        self._run.finish(exit_code=1 if scores is None else 0)
