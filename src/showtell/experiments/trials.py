"""The trials of a tuning: its table on the terminal, in ``tuning.json`` and in ``trials.csv``."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from showtell.experiments.search_space import to_overrides
from showtell.report.comparison import TABLE_SCORES, trial_cells
from showtell.system.atomic import write_summed_json, write_text
from showtell.system.console import text_table

TABLE_KIND, FORMAT = "showtell tuning table", 1
TABLE, CSV = "tuning.json", "trials.csv"


@dataclass(frozen=True)
class Trial:
    """The values of the searched keys, as they entered the recipe, and the result of the run in ``run``.

    ``state`` is ``done``, ``pruned`` (cut short) or ``failed`` (its loss was not finite, see ``error``). ``epochs``
    counts the validated ones; ``loss`` (nats per token) and ``scores`` are of ``best_epoch``, which is 0 if there is
    none.
    """

    run: str
    values: Mapping[str, str]
    state: str
    epochs: int
    best_epoch: int
    loss: float | None
    scores: Mapping[str, float]
    error: str


@dataclass(frozen=True)
class TuningResult:
    """All trials in the order they were started; ``best`` is one that is done, None if none is."""

    directory: Path
    metric: str
    split: str
    keys: Sequence[str]
    trials: Sequence[Trial]
    best: Trial | None

    def table(self) -> str:
        """Return the trials as aligned lines (scores times 100, ``*`` the best), and the best as options."""
        header = ["trial", *self.keys, "state", "epochs", f"{self.split} loss", *TABLE_SCORES]
        rows = [
            [f"{number}{' *' * (trial is self.best)}", *trial_cells(asdict(trial), TABLE_SCORES, missing="-")]
            for number, trial in enumerate(self.trials, 1)
        ]
        best = f"best by {self.metric}: {self.best_options}" if self.best else "no trial finished"
        return f"{text_table([header, *rows], left=1)}\n{best}"

    @property
    def best_options(self) -> str:
        """The values of the best trial as options to paste after ``showtell train``."""
        return " ".join(f"--set {key}" for key in to_overrides(self.best.values)) if self.best else ""


def write_tables(result: TuningResult) -> None:
    """Write the trials so far as ``tuning.json`` and ``trials.csv``."""
    content = {
        "kind": TABLE_KIND,
        "format": FORMAT,
        "metric": result.metric,
        "split": result.split,
        "keys": list(result.keys),
        "best": result.best and result.best.run,
        "options": result.best_options,
        "trials": [asdict(trial) for trial in result.trials],
    }
    write_summed_json(result.directory / TABLE, content)
    text = io.StringIO()
    names = sorted({name for trial in result.trials for name in trial.scores})
    columns = ["run", *result.keys, "state", "epochs", "best_epoch", "loss", *names, "error"]
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({**asdict(trial), **trial.values, **trial.scores} for trial in result.trials)
    write_text(result.directory / CSV, text.getvalue())
