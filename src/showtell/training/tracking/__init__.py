"""Where the numbers of a run go: always ``metrics.jsonl``, and the services that a recipe asks for.

``metrics.jsonl`` is the run's own record and must be written. A service is a mirror: what it cannot do when the run
starts is told then, and what fails later (a network that went away) is told once and ends no training.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from showtell.errors import MissingExtraError, ShowtellError
from showtell.system.console import note
from showtell.training.tracking.jsonl import JsonlTracker, read_metrics
from showtell.training.tracking.mlflow import MlflowTracker
from showtell.training.tracking.tensorboard import TensorBoardTracker
from showtell.training.tracking.tracker import Tracker
from showtell.training.tracking.wandb import WandbTracker

__all__ = ["Tracker", "Trackers", "read_metrics", "require_trackers"]

SERVICES: dict[str, tuple[Callable[[int], Tracker], str]] = {
    "tensorboard": (TensorBoardTracker, "torch.utils.tensorboard.writer"),
    "wandb": (WandbTracker, "wandb"),
    "mlflow": (MlflowTracker, "mlflow.tracking"),
}


def require_trackers(names: Sequence[str]) -> None:
    """Check, before anything costly is done, that the packages of these trackers are there.

    Raises:
        MissingExtraError: one is not installed, or broken.
    """
    for name in names:
        try:
            importlib.import_module(SERVICES[name][1])
        except ImportError as error:
            raise MissingExtraError(f"the tracker '{name}'", extra="track", cause=str(error)) from error


class Trackers:
    """Several trackers as one.

    Args:
        names: Services beside ``metrics.jsonl``.
        resume_step: The step the run goes on from.
    """

    def __init__(self, names: Sequence[str], *, resume_step: int) -> None:
        require_trackers(names)
        self._resume_step = resume_step
        self._record = JsonlTracker(resume_step)
        self._services = {name: SERVICES[name][0](resume_step) for name in names}
        self._told: set[tuple[str, int]] = set()

    def start(self, run: Path) -> None:
        """Start all.

        Raises:
            ShowtellError: a service refuses (no key, an unknown server).
        """
        # Rows of steps that will be done again have the same numbers: services that keep them need not hear twice.
        self._told = {
            (str(row["kind"]), row["step"]) for row in read_metrics(run) if row["step"] > self._resume_step
        }
        self._record.start(run)
        waiting, self._services = self._services, {}
        for name, service in waiting.items():
            try:
                service.start(run)
                self._services[name] = service
            except Exception as error:
                self.finish()
                raise ShowtellError(
                    f"the tracker '{name}' cannot start",
                    found=_first_line(error),
                    mend="Check its settings, or go on without: --set training.trackers=[]",
                ) from error

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Log to all."""
        self._record.log(step, values)
        is_told = (str(values["kind"]), step) in self._told
        for name, service in list(self._services.items()):
            if service.takes_back or not is_told:
                self._try(name, partial(service.log, step, values))

    def finish(self, scores: Mapping[str, float] | None = None) -> None:
        """Finish all; the scores are those of ``best/`` where the run came to its end."""
        self._record.finish()
        for name, service in list(self._services.items()):
            self._try(name, partial(service.finish, scores))

    def _try(self, name: str, send: Callable[[], None]) -> None:
        try:
            send()
        # Services raise what they like; whatever it is, hours of training weigh more.
        except Exception as error:
            del self._services[name]
            note(
                f"warning: the tracker '{name}' failed and is left out from here on ({_first_line(error)}); "
                "metrics.jsonl holds every number"
            )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0] or type(error).__name__
