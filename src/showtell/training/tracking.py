"""Where the numbers of a run go: always ``metrics.jsonl``, and TensorBoard where a recipe asks for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from showtell.errors import MissingExtraError
from showtell.files import write_text


class Tracker(Protocol):
    """Three methods that any tracker can offer."""

    def start(self, run: Path) -> None:
        """Begin, or go on with, the run in this directory."""
        ...

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Take the numbers of a step; ``values["kind"]`` is step, epoch or validation."""
        ...

    def finish(self) -> None:
        """Write what is still held."""
        ...


class JsonlTracker:
    """Appends rows to ``metrics.jsonl``; what lies beyond the step a run goes on from is cut off first."""

    def __init__(self, resume_step: int) -> None:
        self.resume_step = resume_step

    def start(self, run: Path) -> None:
        """Open the file, without the rows of steps that will be done again."""
        self.path = run / "metrics.jsonl"
        kept = [row for row in read_metrics(run) if row["step"] <= self.resume_step]
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = self.path.open("a", encoding="utf-8")

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Append one row and flush it."""
        self._file.write(json.dumps({"kind": values["kind"], "step": step, **values}) + "\n")
        self._file.flush()

    def finish(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoardTracker:
    """Writes event files under ``tensorboard/``; points of steps that will be done again are purged."""

    def __init__(self, resume_step: int) -> None:
        self.resume_step = resume_step

    def start(self, run: Path) -> None:
        """Open the writer."""
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            raise MissingExtraError("the tracker 'tensorboard'", extra="track", cause=str(error)) from error
        self._writer = SummaryWriter(str(run / "tensorboard"), purge_step=self.resume_step + 1)

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Write every number under its kind."""
        for name, value in values.items():
            if isinstance(value, int | float):
                self._writer.add_scalar(f"{values['kind']}/{name}", value, step)

    def finish(self) -> None:
        """Flush and close."""
        self._writer.close()


class Trackers:
    """Several trackers as one."""

    def __init__(self, names: Sequence[str], *, resume_step: int) -> None:
        self._trackers: list[Tracker] = [JsonlTracker(resume_step)]
        self._trackers += [{"tensorboard": TensorBoardTracker}[name](resume_step) for name in names]

    def start(self, run: Path) -> None:
        """Start all."""
        for tracker in self._trackers:
            tracker.start(run)

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Log to all."""
        for tracker in self._trackers:
            tracker.log(step, values)

    def finish(self) -> None:
        """Finish all."""
        for tracker in self._trackers:
            tracker.finish()


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the rows of ``metrics.jsonl``, less a last line that a crash cut short; none without a file."""
    path = run / "metrics.jsonl"
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
