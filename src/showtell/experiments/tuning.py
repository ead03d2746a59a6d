"""Hyper-parameter search by short trainings, with pruning: on Optuna.

Every trial is a run of its own in ``OUT/trial-N``; the results are in ``study.db`` (Optuna's storage),
``tuning.json`` and ``trials.csv``. A killed trial is marked as failed in the storage, and another with the same
values resumes its run.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from showtell.config.recipe import Recipe, load_recipe
from showtell.data.prepared import PreparedSet
from showtell.errors import ConfigError, TrainingError, import_extra
from showtell.experiments.search_space import Build, SearchDimension, build_space, expand_grid, to_overrides
from showtell.experiments.trials import Trial, TuningResult, write_tables
from showtell.system.atomic import lock_directory, read_manifest, write_manifest
from showtell.system.console import note
from showtell.training.distributed import local_rank
from showtell.training.run_dir import differences
from showtell.training.tracking import read_metrics
from showtell.training.trainer import train

if TYPE_CHECKING:
    from optuna import Study
    from optuna import Trial as OptunaTrial
    from optuna.trial import FrozenTrial

KIND, FORMAT = "showtell tuning", 1
STUDY = "study.db"
TRIALS = 20

# The first epoch is not yet representative, and a median needs at least three trials.
PRUNE_FROM_EPOCH, MIN_COMPARED_TRIALS = 2, 3
RANDOM_TRIALS = 5


def tune(
    recipe: str | Path,
    *,
    data: Path,
    out: Path,
    trials: int | None = None,
    searches: Sequence[str] = (),
    overrides: Sequence[str] = (),
    grid: bool = False,
    epochs: int | None = None,
    subset: int | None = None,
    prune: bool | None = None,
    encoder_weights: Path | None = None,
    features: Path | None = None,
    device: str = "auto",
) -> TuningResult:
    """Run trials until there are this many in all (None: 20, or the whole grid).

    The same call resumes an interrupted tuning. Only the best trial keeps its weights; the others keep numbers,
    recipe and log. ``searches`` is the search space, see `showtell.experiments.search_space`; ``grid`` tries all
    its combinations in order. ``prune`` stops trials that are worse than the median of the others at the same
    epoch; None: unless ``grid``, whose table should be complete. The other arguments are those of `train`.

    Raises:
        ConfigError: a key or value that the recipe refuses, or ``out`` holds another tuning.
        MissingExtraError: Optuna is not installed.
        ShowtellError: any error of `train`, except that a loss that is not finite only fails its trial.
    """
    fixed = [*overrides, *_shortened(load_recipe(recipe, list(overrides)), epochs, subset)]

    def build(more: list[str]) -> Recipe:
        return load_recipe(recipe, [*fixed, *more])

    base = build([])
    space = build_space(searches, build)
    combinations = expand_grid(space, build) if grid else None
    total = trials if trials is not None else len(combinations) if combinations is not None else TRIALS
    if total < 1 or (combinations is not None and total > len(combinations)):
        most = "" if combinations is None else f" and at most the {len(combinations)} of the grid"
        raise ConfigError(f"--trials {total} cannot be used", expected=f"at least 1{most}")
    _check_environment()
    settings = {
        "recipe": base.model_dump(mode="json"),
        "search": [str(dimension) for dimension in space],
        "grid": grid,
        "prune": not grid if prune is None else prune,
        "data": {"fingerprint": PreparedSet.load(data).fingerprint},
    }
    _open(out, settings)
    with _locked(out):
        study = _open_study(out, base, is_pruned=bool(settings["prune"]))
        _replace_killed(study, space)
        if combinations is not None:
            _enqueue_missing(study, combinations[:total])
        train_one = partial(
            train, data=data, encoder_weights=encoder_weights, features=features, device=device
        )
        while len(_finished(study)) < total:
            note(f"trial {len(_finished(study)) + 1} of {total}")
            _run_trial(study, out, base, space, build, train_one)
            _drop_weights(study, out)
            write_tables(_result(study, out, base, space))
        result = _result(study, out, base, space)
        write_tables(result)
    return result


def _shortened(recipe: Recipe, epochs: int | None, subset: int | None) -> list[str]:
    changes = []
    if epochs is not None:
        if len(recipe.objective) > 1:
            raise ConfigError(
                f"--epochs {epochs} cannot be used",
                found=f"a recipe of {len(recipe.objective)} phases",
                mend="Set it for each phase: --set objective.0.epochs=...",
            )
        changes.append(f"objective.0.epochs={epochs}")
    if subset is not None:
        changes.append(f"data.subset={subset}")
    return changes


def _check_environment() -> None:
    if local_rank() is not None:
        raise ConfigError(
            "tuning uses a single process",
            found="several",
            mend="Start it without accelerate launch or torchrun",
        )
    optuna = import_extra("optuna", extra="tune")
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def _open(out: Path, settings: Mapping[str, Any]) -> None:
    if not out.exists() or not any(out.iterdir()):
        out.mkdir(parents=True, exist_ok=True)
        write_manifest(out, KIND, FORMAT, dict(settings))
        return
    changed = differences(read_manifest(out, KIND, FORMAT), json.loads(json.dumps(settings)))
    if changed:
        raise ConfigError(f"{out} holds another tuning", found="; ".join(changed), mend="Choose another -o")


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    lock = lock_directory(out)
    if lock is None:
        raise ConfigError(
            f"{out} is being tuned by another process", mend="Wait for it, or choose another -o"
        )
    try:
        yield
    finally:
        os.close(lock)


def _open_study(out: Path, base: Recipe, *, is_pruned: bool) -> Study:
    import optuna
    from sqlalchemy import URL

    url = URL.create("sqlite", database=str(out.resolve() / STUDY)).render_as_string()
    pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
    if is_pruned:
        pruner = optuna.pruners.MedianPruner(MIN_COMPARED_TRIALS, PRUNE_FROM_EPOCH)
    return optuna.create_study(
        storage=url,
        study_name="showtell",
        direction="minimize" if base.validation.metric == "loss" else "maximize",
        pruner=pruner,
        load_if_exists=True,
    )


def _replace_killed(study: Study, space: Sequence[SearchDimension]) -> None:
    """Mark trials that a killed process left running as failed, and enqueue others that resume their runs."""
    from optuna.trial import TrialState

    keys = {dimension.key for dimension in space}
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        if set(trial.params) == keys and "run" in trial.user_attrs:
            study.enqueue_trial(trial.params, user_attrs={"run": trial.user_attrs["run"]})


def _enqueue_missing(study: Study, combinations: Sequence[Mapping[str, str]]) -> None:
    from optuna.trial import TrialState

    waiting = study.get_trials(states=(TrialState.WAITING,))
    known = [dict(trial.params) for trial in _finished(study)]
    known += [dict(trial.system_attrs["fixed_params"]) for trial in waiting]
    for values in combinations:
        if values not in known:
            study.enqueue_trial(dict(values))


def _run_trial(
    study: Study, out: Path, base: Recipe, space: Sequence[SearchDimension], build: Build, train_one: Any
) -> None:
    """Train one trial and report it to the study; after any other error it is replaced later."""
    import optuna

    # A function of (seed, trials so far): a resumed tuning samples the same values, and none twice.
    seed = np.random.SeedSequence((base.training.seed, len(_finished(study)))).generate_state(1)
    study.sampler = optuna.samplers.TPESampler(n_startup_trials=RANDOM_TRIALS, seed=int(seed[0]))
    trial = study.ask({dimension.key: dimension.distribution() for dimension in space})
    values = {dimension.key: dimension.text(trial.params[dimension.key]) for dimension in space}
    run = trial.user_attrs.get("run", f"trial-{trial.number}")
    trial.set_user_attr("run", run)
    trial.set_user_attr("values", values)
    recipe = build(to_overrides(values))
    note(f"{run}: {', '.join(to_overrides(values))}")
    try:
        train_one(recipe, out=out / run, on_validation=_report_validations(trial, out / run, recipe))
        state = optuna.trial.TrialState.COMPLETE
    except optuna.TrialPruned:
        note(f"{run}: pruned, worse than half of the others")
        state = optuna.trial.TrialState.PRUNED
    except TrainingError as error:
        note(f"{run}: {error}")
        trial.set_user_attr("error", f"{error.what}: {error.found}")
        state = optuna.trial.TrialState.FAIL
    rows = _validations(out / run)
    is_done = state == optuna.trial.TrialState.COMPLETE
    study.tell(trial, _best(rows, recipe)[recipe.validation.metric] if is_done else None, state)


def _report_validations(trial: OptunaTrial, run: Path, recipe: Recipe) -> Any:
    """Return a callback that reports validations to the study, those of an earlier process too, and prunes."""
    import optuna

    reported: set[int] = set()
    last_epoch = sum(phase.epochs for phase in recipe.objective)

    def report(epoch: int, _row: Mapping[str, float]) -> None:
        for row in _validations(run):
            if row["epoch"] not in reported:
                reported.add(row["epoch"])
                trial.report(row[recipe.validation.metric], row["epoch"])
        if epoch < last_epoch and trial.should_prune():
            raise optuna.TrialPruned

    return report


def _validations(run: Path) -> list[dict[str, Any]]:
    return [row for row in read_metrics(run) if row["event"] == "validation"]


def _best(rows: Sequence[dict[str, Any]], recipe: Recipe) -> dict[str, Any]:
    """Return the best validation; the first of equals, as in ``best/``."""
    metric = recipe.validation.metric
    sign = -1.0 if metric == "loss" else 1.0
    return max(rows, key=lambda row: sign * row[metric])


def _finished(study: Study) -> list[FrozenTrial]:
    """Return the trials that were not killed."""
    from optuna.trial import TrialState

    ended = study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    return [trial for trial in ended if trial.state != TrialState.FAIL or "error" in trial.user_attrs]


def _drop_weights(study: Study, out: Path) -> None:
    from optuna.trial import TrialState

    done = study.get_trials(states=(TrialState.COMPLETE,))
    best = study.best_trial.user_attrs["run"] if done else None
    for trial in _finished(study):
        if trial.user_attrs["run"] != best:
            for name in ("best", "last"):
                shutil.rmtree(out / trial.user_attrs["run"] / name, ignore_errors=True)


def _result(study: Study, out: Path, base: Recipe, space: Sequence[SearchDimension]) -> TuningResult:
    from optuna.trial import TrialState

    states = {TrialState.COMPLETE: "done", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    trials = []
    # In the order they were first started: the replacement of a killed trial resumes its run.
    for trial in sorted(_finished(study), key=lambda trial: int(trial.user_attrs["run"].rpartition("-")[2])):
        rows = _validations(out / trial.user_attrs["run"])
        best = _best(rows, base) if rows else {}
        trials.append(
            Trial(
                run=trial.user_attrs["run"],
                values=trial.user_attrs["values"],
                state=states[trial.state],
                epochs=max((row["epoch"] for row in rows), default=0),
                best_epoch=best.get("epoch", 0),
                loss=best.get("loss"),
                scores={
                    name: value for name, value in best.items() if name.startswith(("BLEU", "ROUGE", "CIDEr"))
                },
                error=trial.user_attrs.get("error", ""),
            )
        )
    done = study.get_trials(states=(TrialState.COMPLETE,))
    best_run = study.best_trial.user_attrs["run"] if done else None
    return TuningResult(
        directory=out,
        metric=base.validation.metric,
        split=base.validation.split,
        keys=[dimension.key for dimension in space],
        trials=trials,
        best=next((trial for trial in trials if trial.run == best_run), None),
    )
