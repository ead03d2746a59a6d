"""MLflow: the store that ``MLFLOW_TRACKING_URI`` names, else files under the run's directory.

The files need no database: with mlflow-skinny alone a SQLite store lacks its packages, and takes seconds to lay its
tables. Newer versions of MLflow open such files where ``MLFLOW_ALLOW_FILE_STORE=true`` is set.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from showtell.training.tracking.tracker import PROJECT, flatten, keep_id, numbers, read_id, read_options

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

MOST_PARAMS = 100


class MlflowTracker:
    """Goes on with the same run after an interruption: its id is kept in the run's directory."""

    takes_back = False

    def __init__(self, resume_step: int) -> None:
        self.resume_step = resume_step

    def start(self, run: Path) -> None:
        """Begin the run with its options as params, or continue it."""
        self._step = self.resume_step
        self._client = _open_store(run)
        known = read_id(run, "mlflow")
        if known is not None:
            self._id = known
            self._client.update_run(known, status="RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        experiment = self._client.get_experiment_by_name(name)
        experiment_id = experiment.experiment_id if experiment else self._client.create_experiment(name)
        self._id = self._client.create_run(experiment_id, run_name=run.resolve().name).info.run_id
        keep_id(run, "mlflow", self._id)
        self._send_options(read_options(run))

    def _send_options(self, options: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        params = [Param(name, str(value)) for name, value in flatten(options).items()]
        for start in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(self._id, params=params[start : start + MOST_PARAMS])

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Send every number under its kind."""
        self._step = step
        self._send(numbers(values))

    def _send(self, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(
            self._id, metrics=[Metric(name, value, now, self._step) for name, value in values.items()]
        )

    def finish(self, scores: Mapping[str, float] | None = None) -> None:
        """Send the scores and say how the run ended."""
        self._send({f"final/{name}": value for name, value in (scores or {}).items()})
        self._client.set_terminated(self._id, status="KILLED" if scores is None else "FINISHED")


def _open_store(run: Path) -> MlflowClient:
    local = None
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        local = (run.resolve() / "mlflow").as_uri()
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        # Numbers that stay on this disk are no reason to call home.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=local)
