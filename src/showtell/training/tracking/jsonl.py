"""``metrics.jsonl``: every number of a run, one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from showtell.system.atomic import read_json_lines, write_text

METRICS = "metrics.jsonl"


class JsonlTracker:
    """Appends rows to ``metrics.jsonl``; what lies beyond the step a run goes on from is cut off first."""

    takes_back = True

    def __init__(self, resume_step: int) -> None:
        self.resume_step = resume_step

    def start(self, run: Path) -> None:
        """Open the file, without the rows of steps that will be done again."""
        path = run / METRICS
        kept = [row for row in read_metrics(run) if row["step"] <= self.resume_step]
        write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = path.open("a", encoding="utf-8")

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Append one row and flush it."""
        self._file.write(json.dumps({"kind": values["kind"], "step": step, **values}) + "\n")
        self._file.flush()

    def finish(self, scores: Mapping[str, float] | None = None) -> None:
        """Close the file; scores stand in ``best/config.json``."""
        self._file.close()


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the rows of ``metrics.jsonl``, less a last line that a crash cut short; none without a file."""
    return read_json_lines(run / METRICS, may_be_cut=True)
