"""``metrics.jsonl``: every number of a run, one JSON object per line."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from showtell.system.atomic import read_json_lines, write_text

METRICS = "metrics.jsonl"


class MetricsFile:
    """Appends rows to ``metrics.jsonl``.

    Args:
        run: The run's directory.
        resume_step: The step that the run resumes from: rows of later steps are removed.
    """

    def __init__(self, run: Path, resume_step: int) -> None:
        path = run / METRICS
        kept = [row for row in read_metrics(run) if row["step"] <= resume_step]
        write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = path.open("a", encoding="utf-8")

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Append one row and flush it."""
        self._file.write(json.dumps({"event": values["event"], "step": step, **values}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the rows of ``metrics.jsonl`` without a last line that a crash cut short; none without a file."""
    return read_json_lines(run / METRICS, may_be_cut=True)
