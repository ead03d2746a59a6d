"""Where the numbers of a run go: ``metrics.jsonl``, and the experiment trackers of `accelerate.tracking`.

``metrics.jsonl`` is the run's own record and must be written. A tracker is a copy: what it cannot do at the start is
an error, and what fails later (a network outage) is reported once and ends no training.
"""

from __future__ import annotations

import importlib
import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from showtell.config.yaml_text import parse_yaml
from showtell.errors import MissingExtraError, ShowtellError
from showtell.system.atomic import write_json, write_text
from showtell.system.console import note
from showtell.system.reading import read_json_lines, read_json_object, read_text

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

METRICS, IDS = "metrics.jsonl", "trackers.json"
PROJECT = "showtell"
MODULES = {
    "tensorboard": "torch.utils.tensorboard.writer",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "comet_ml": "comet_ml",
    "aim": "aim",
    "trackio": "trackio",
}
IN_EXTRA = ("tensorboard", "wandb", "mlflow")


def require_trackers(names: Sequence[str]) -> None:
    """Check that the trackers' packages are installed, before anything expensive is done.

    Raises:
        ShowtellError: a package is missing or broken.
    """
    for name in names:
        try:
            importlib.import_module(MODULES[name])
        except ImportError as error:
            if name in IN_EXTRA:
                raise MissingExtraError(f"the tracker '{name}'", extra="track", cause=str(error)) from error
            raise ShowtellError(
                f"the tracker '{name}' is not available", found=str(error), mend=f"Run: pip install {name}"
            ) from error


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the rows of ``metrics.jsonl`` without a last line that a crash cut short; none without a file."""
    return read_json_lines(run / METRICS, may_be_cut=True)


class Trackers:
    """``metrics.jsonl`` and the named trackers of a run that resumes from a step, as one."""

    def __init__(self, names: Sequence[str], *, resume_step: int) -> None:
        self._names, self._resume_step = names, resume_step
        self._file: TextIO | None = None
        self._trackers: dict[str, GeneralTracker] = {}
        self._logged: set[tuple[str, int]] = set()

    def start(self, run: Path) -> None:
        """Open ``metrics.jsonl``, without rows of later steps than the resumed one, and start all trackers.

        Raises:
            ShowtellError: a tracker refuses (no key, an unknown server).
        """
        rows = read_metrics(run)
        kept = [row for row in rows if row["step"] <= self._resume_step]
        # Repeated steps give the same numbers: only TensorBoard, which drops the old ones, needs them again.
        self._logged = {(str(row["event"]), row["step"]) for row in rows if row["step"] > self._resume_step}
        write_text(run / METRICS, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = (run / METRICS).open("a", encoding="utf-8")
        for name in self._names:
            try:
                self._trackers[name] = _start_tracker(name, run, self._resume_step)
            except Exception as error:
                self.finish()
                raise ShowtellError(
                    f"the tracker '{name}' cannot start",
                    found=_first_line(error),
                    mend="Check its settings, or train without it: --set training.trackers=[]",
                ) from error

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Log a row; ``values["event"]`` is step, epoch or validation."""
        assert self._file is not None
        event = str(values["event"])
        self._file.write(json.dumps({"event": event, "step": step, **values}) + "\n")
        self._file.flush()
        numbers = {
            f"{event}/{name}": value for name, value in values.items() if isinstance(value, int | float)
        }
        for name, tracker in list(self._trackers.items()):
            if name == "tensorboard" or (event, step) not in self._logged:
                self._try(name, partial(tracker.log, numbers, step=step))

    def finish(self, scores: Mapping[str, float] | None = None) -> None:
        """Close all; ``scores`` are those of ``best/`` if the run is complete."""
        if self._file is not None:
            self._file.close()
        for name, tracker in list(self._trackers.items()):
            if scores:
                self._try(
                    name, partial(tracker.log, {f"final/{key}": value for key, value in scores.items()})
                )
            if name in self._trackers:
                self._try(name, tracker.finish)

    def _try(self, name: str, call: Callable[[], None]) -> None:
        try:
            call()
        # Trackers raise anything; hours of training are worth more.
        except Exception as error:
            del self._trackers[name]
            note(
                f"warning: the tracker '{name}' failed and gets no more numbers ({_first_line(error)}); "
                "metrics.jsonl has all of them"
            )


def _start_tracker(name: str, run: Path, resume_step: int) -> GeneralTracker:
    """Start a tracker on a new run, or on the same run where the service can resume it."""
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    PartialState()  # accelerate's loggers need it
    project, run_name = os.environ.get(f"{name.upper()}_PROJECT") or PROJECT, run.resolve().name
    arguments: dict[str, Any] = {"run_name": project}
    if name == "tensorboard":
        arguments = {"run_name": "tensorboard", "logging_dir": str(run), "purge_step": resume_step + 1}
    elif name == "wandb":
        arguments |= {"id": _run_id(run, name), "name": run_name, "resume": "allow", "dir": str(run)}
        # stdout is for results only.
        arguments["settings"] = {"silent": True, "console": "off"}
    elif name == "mlflow":
        arguments = {"experiment_name": project, "run_name": run_name, "run_id": _mlflow_run(run)}
    elif name == "comet_ml":
        arguments["experiment_key"] = _run_id(run, name)
    elif name == "aim":
        arguments["logging_dir"] = str(run)
    elif name == "trackio":
        arguments |= {"name": run_name, "resume": "allow"}
    tracker: GeneralTracker = LOGGER_TYPE_TO_CLASS[name](**arguments)
    # Only the main process has trackers.
    tracker.main_process_only = False
    tracker.start()
    if name == "mlflow":
        _save_id(run, name, tracker.tracker.info.run_id)
    if resume_step == 0:
        options = flatten(parse_yaml(read_text(run / "recipe.yaml")))
        tracker.store_init_configuration(
            {
                key: value if isinstance(value, int | float | str) else str(value)
                for key, value in options.items()
            }
        )
    return tracker


def _mlflow_run(run: Path) -> str | None:
    """Choose MLflow's store and return the id of the run there: files in the run's directory by default."""
    import mlflow

    if not os.environ.get("MLFLOW_TRACKING_URI"):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        # Numbers that stay on this disk are no reason to call home.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        mlflow.set_tracking_uri((run.resolve() / "mlflow").as_uri())
        # MLflow exports the store to the environment, where the next run of this process would find it.
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    else:
        mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    return _read_ids(run).get("mlflow")


def _run_id(run: Path, name: str) -> str:
    """Return the id of the run at a service that lets us choose it, stored before the service knows it."""
    id_ = _read_ids(run).get(name) or secrets.token_hex(16)
    _save_id(run, name, id_)
    return id_


def _read_ids(run: Path) -> dict[str, str]:
    path = run / IDS
    return read_json_object(path) if path.exists() else {}


def _save_id(run: Path, name: str, id_: str) -> None:
    write_json(run / IDS, {**_read_ids(run), name: id_})


def flatten(options: Any, path: str = "") -> dict[str, Any]:
    """Return nested options by dotted keys, as ``--set`` takes them: ``objective.0.epochs``."""
    if isinstance(options, dict):
        items: list[tuple[Any, Any]] = list(options.items())
    elif isinstance(options, list) and any(isinstance(part, dict | list) for part in options):
        items = list(enumerate(options))
    else:
        return {path: options}
    return {
        name: value
        for key, part in items
        for name, value in flatten(part, f"{path}.{key}" if path else str(key)).items()
    }


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0] or type(error).__name__
