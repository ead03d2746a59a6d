"""The trials of a tuning in Optuna's storage, which is imported only for a tuning."""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna import distributions
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from showtell.config.recipe import Recipe, load_recipe
from showtell.errors import DataError, TrainingError
from showtell.experiments.search_space import Build, SearchDimension, to_overrides
from showtell.experiments.trials import Trial, TuningResult
from showtell.system.console import note
from showtell.training.tracking import read_metrics

STUDY = "study.db"
# The first epoch is not yet representative, and a median needs at least three trials.
PRUNE_FROM_EPOCH, MIN_COMPARED_TRIALS = 2, 3
RANDOM_TRIALS = 5
_STORAGE_ADVICE = {
    "full": "Free some space",
    "readonly": "Choose a place with write permission",
    "locked": "End the process that uses it",
    "not a database": "Move it away: the trials begin again",
    "malformed": "Move it away: the trials begin again",
}
STATES = {TrialState.COMPLETE: "done", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


@contextlib.contextmanager
def storage_errors(out: Path) -> Iterator[None]:
    """Raise errors of the storage of trials, such as a full disk, as a DataError that says how to resume."""
    path = out / STUDY
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        # Optuna wraps SQLAlchemy's errors, which wrap SQLite's.
        causes = [error, error.__cause__, *(getattr(each, "orig", None) for each in (error, error.__cause__))]
        found = str([cause for cause in causes if cause is not None][-1])
        advice = next((text for words, text in _STORAGE_ADVICE.items() if words in found), "Check the disk")
        raise DataError(
            f"cannot read or write {path}",
            found=found,
            mend=f"{advice}, then run the same command again: it resumes",
        ) from error


class TuningStudy:
    """The trials of one search space around a recipe, in ``out/study.db``, with a run of each in ``out``."""

    def __init__(
        self, out: Path, recipe: Recipe, space: Sequence[SearchDimension], *, is_pruned: bool
    ) -> None:
        self._out, self._recipe, self._space = out, recipe, space
        self._metric = recipe.validation.metric
        self._run_recipes: dict[str, Recipe] = {}
        pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
        if is_pruned:
            pruner = optuna.pruners.MedianPruner(MIN_COMPARED_TRIALS, PRUNE_FROM_EPOCH)
        self._study = optuna.create_study(
            storage=URL.create("sqlite", database=str(out.resolve() / STUDY)).render_as_string(),
            study_name="showtell",
            direction="minimize" if self._metric == "loss" else "maximize",
            pruner=pruner,
            load_if_exists=True,
        )

    def finished(self) -> list[FrozenTrial]:
        """Return the trials that were not killed."""
        ended = self._study.get_trials(states=tuple(STATES))
        return [trial for trial in ended if trial.state != TrialState.FAIL or "error" in trial.user_attrs]

    def replace_killed(self) -> None:
        """Mark trials that a killed process left running as failed, and enqueue others that resume their runs."""
        keys = {dimension.key for dimension in self._space}
        for trial in self._study.get_trials(states=(TrialState.RUNNING,)):
            self._study.tell(trial.number, state=TrialState.FAIL)
            if set(trial.params) == keys and "run" in trial.user_attrs:
                self._study.enqueue_trial(trial.params, user_attrs={"run": trial.user_attrs["run"]})

    def enqueue_missing(self, combinations: Sequence[Mapping[str, str]]) -> None:
        """Enqueue the combinations of a grid that are neither finished nor waiting."""
        waiting = self._study.get_trials(states=(TrialState.WAITING,))
        known = [dict(trial.params) for trial in self.finished()]
        known += [dict(trial.system_attrs["fixed_params"]) for trial in waiting]
        for values in combinations:
            if values not in known:
                self._study.enqueue_trial(dict(values))

    def run_trial(self, build: Build, train: Callable[..., object]) -> None:
        """Train one trial and record it; one that ends with any other error is replaced later."""
        # A function of (seed, trials so far): a resumed tuning samples the same values, and none twice.
        entropy = (self._recipe.training.seed, len(self.finished()))
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        self._study.sampler = optuna.samplers.TPESampler(n_startup_trials=RANDOM_TRIALS, seed=seed)
        trial = self._study.ask({dimension.key: to_distribution(dimension) for dimension in self._space})
        values = {dimension.key: dimension.text(trial.params[dimension.key]) for dimension in self._space}
        run = trial.user_attrs.get("run", f"trial-{trial.number}")
        trial.set_user_attr("run", run)
        trial.set_user_attr("values", values)
        recipe = build(to_overrides(values))
        note(f"{run}: {', '.join(to_overrides(values))}")
        try:
            train(recipe, out=self._out / run, on_validation=self._reporter(trial, run))
            state = TrialState.COMPLETE
        except optuna.TrialPruned:
            note(f"{run}: pruned, worse than half of the others")
            state = TrialState.PRUNED
        except TrainingError as error:
            note(f"{run}: {error}")
            trial.set_user_attr("error", f"{error.what}: {error.found}")
            state = TrialState.FAIL
        is_done = state == TrialState.COMPLETE
        self._study.tell(
            trial, self._best(run, self._validations(run))[self._metric] if is_done else None, state
        )
        self._drop_weights()

    def result(self) -> TuningResult:
        """Return the finished trials, in the order they were first started: a replacement resumes a killed run."""
        trials = [self._trial(trial) for trial in self.finished()]
        trials.sort(key=lambda trial: int(trial.run.rpartition("-")[2]))
        best = self._best_run()
        return TuningResult(
            directory=self._out,
            metric=self._metric,
            split=self._recipe.validation.split,
            keys=[dimension.key for dimension in self._space],
            trials=trials,
            best=next((trial for trial in trials if trial.run == best), None),
        )

    def _trial(self, trial: FrozenTrial) -> Trial:
        run = trial.user_attrs["run"]
        rows = self._validations(run)
        best = self._best(run, rows) if rows else {}
        return Trial(
            run=run,
            values=trial.user_attrs["values"],
            state=STATES[trial.state],
            epochs=max((row["epoch"] for row in rows), default=0),
            best_epoch=best.get("epoch", 0),
            loss=best.get("loss"),
            scores={name: best[name] for name in best if name.startswith(("BLEU", "ROUGE", "CIDEr"))},
            error=trial.user_attrs.get("error", ""),
        )

    def _reporter(self, trial: optuna.Trial, run: str) -> Callable[..., None]:
        """Return a callback that reports validations to the study, those of an earlier process too, and prunes."""
        reported: set[int] = set()

        def report(epoch: int, _row: Mapping[str, float]) -> None:
            last_epoch = sum(phase.epochs for phase in self._run_recipe(run).objective)
            for row in self._validations(run):
                if row["epoch"] not in reported:
                    reported.add(row["epoch"])
                    trial.report(row[self._metric], row["epoch"])
            if epoch < last_epoch and trial.should_prune():
                raise optuna.TrialPruned

        return report

    def _validations(self, run: str) -> list[dict[str, Any]]:
        return [row for row in read_metrics(self._out / run) if row["event"] == "validation"]

    def _run_recipe(self, run: str) -> Recipe:
        """Return the recipe that a run stores, adapted to the training set."""
        if run not in self._run_recipes:
            self._run_recipes[run] = load_recipe(self._out / run / "recipe.yaml")
        return self._run_recipes[run]

    def _best(self, run: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the validation of ``best/``: the best, of equal scores the lower loss, or the last."""
        if self._run_recipe(run).validation.select == "last":
            return max(rows, key=lambda row: int(row["epoch"]))
        sign = -1.0 if self._metric == "loss" else 1.0
        return max(rows, key=lambda row: (sign * row[self._metric], -row["loss"]))

    def _best_run(self) -> str | None:
        done = self._study.get_trials(states=(TrialState.COMPLETE,))
        return self._study.best_trial.user_attrs["run"] if done else None

    def _drop_weights(self) -> None:
        best = self._best_run()
        for trial in self.finished():
            if trial.user_attrs["run"] != best:
                for name in ("best", "last"):
                    shutil.rmtree(self._out / trial.user_attrs["run"] / name, ignore_errors=True)


def to_distribution(dimension: SearchDimension) -> distributions.BaseDistribution:
    """Return a dimension as Optuna's distribution; choices stay text."""
    if dimension.choices:
        return distributions.CategoricalDistribution(dimension.choices)
    if dimension.is_whole:
        return distributions.IntDistribution(int(dimension.low), int(dimension.high), log=dimension.is_log)
    return distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.is_log)
