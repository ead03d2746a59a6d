"""The trials of a tuning: its table on the terminal, in ``tuning.json`` and in ``trials.csv``."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from showtell.experiments.search_space import to_overrides
from showtell.system.atomic import write_json, write_text
from showtell.system.console import text_table

TABLE_KIND, FORMAT = "showtell tuning table", 1
TABLE, CSV = "tuning.json", "trials.csv"
SCORES = ("BLEU-4", "CIDEr-D")


@dataclass(frozen=True)
class Trial:
    """One set of values and its result.

    Attributes:
        run: Name of its run's directory.
        values: Of the searched keys, as they entered the recipe.
        state: ``done``, ``pruned`` (cut short) or ``failed`` (its loss was not finite).
        epochs: Epochs validated.
        best_epoch: The best of them, to which ``loss`` (nats per token) and ``scores`` belong; 0 if there is none.
        error: Why it failed.
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
        header = ["trial", *self.keys, "state", "epochs", f"{self.split} loss", *SCORES]
        rows = [
            [
                f"{number}{' *' * (trial is self.best)}",
                *(trial.values[key] for key in self.keys),
                trial.state,
                str(trial.epochs),
                "-" if trial.loss is None else f"{trial.loss:.3f}",
                *(f"{100 * trial.scores[name]:.2f}" if name in trial.scores else "-" for name in SCORES),
            ]
            for number, trial in enumerate(self.trials, 1)
        ]
        table = text_table([header, *rows], left=1)
        if self.best is None:
            return f"{table}\nno trial finished"
        return f"{table}\nbest by {self.metric}: {to_cli_args(self.best.values)}"


def to_cli_args(values: Mapping[str, str]) -> str:
    """Return values as options to paste after ``showtell train``."""
    return " ".join(f"--set {override}" for override in to_overrides(values))


def write_tables(result: TuningResult) -> None:
    """Write the trials so far as ``tuning.json`` and ``trials.csv``."""
    best = None if result.best is None else result.best.run
    content = {
        "kind": TABLE_KIND,
        "format": FORMAT,
        "metric": result.metric,
        "split": result.split,
        "keys": list(result.keys),
        "best": best,
        "options": "" if result.best is None else to_cli_args(result.best.values),
        "trials": [asdict(trial) for trial in result.trials],
    }
    write_json(result.directory / TABLE, content)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = sorted({name for trial in result.trials for name in trial.scores})
    writer.writerow(["run", *result.keys, "state", "epochs", "best_epoch", "loss", *names, "error"])
    for trial in result.trials:
        writer.writerow(
            [trial.run, *trial.values.values(), trial.state, trial.epochs, trial.best_epoch, trial.loss]
            + [trial.scores.get(name, "") for name in names]
            + [trial.error]
        )
    write_text(result.directory / CSV, text.getvalue())
