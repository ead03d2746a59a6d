"""Hyper-parameter search by short trainings, with pruning: on Optuna.

Every trial is a run of its own in ``OUT/trial-N``; the results are in ``study.db`` (Optuna's storage),
``tuning.json`` and ``trials.csv``. A killed trial is marked as failed in the storage, and another with the same
values resumes its run.
"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from showtell.config.recipe import Recipe, load_recipe
from showtell.data.prepared import PreparedSet
from showtell.errors import ConfigError, DataError, import_extra
from showtell.experiments.search_space import build_space, expand_grid
from showtell.experiments.trials import TuningResult, write_tables
from showtell.system.atomic import claim_directory, read_manifest
from showtell.system.console import note
from showtell.system.locks import locked_directory
from showtell.training.distributed import local_rank
from showtell.training.run_dir import differences, known_adapted_keys, with_new_keys
from showtell.training.trainer import train

KIND, FORMAT = "showtell tuning", 1
TRIALS = 20


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
        DataError: the storage of trials cannot be written; the same call resumes then.
        ShowtellError: any error of `train`, except that a loss that is not finite only fails its trial.
    """
    loaded = load_recipe(recipe, list(overrides))
    fixed = [*overrides, *_shortened(loaded, epochs, subset)]
    fixed += _as_begun(load_recipe(recipe, fixed), out)

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
    is_pruned = not grid if prune is None else prune
    settings = {
        "recipe": base.model_dump(mode="json"),
        "search": [str(dimension) for dimension in space],
        "grid": grid,
        "prune": is_pruned,
        "data": {"fingerprint": PreparedSet.load(data).fingerprint},
    }
    train_one = partial(train, data=data, encoder_weights=encoder_weights, features=features, device=device)
    from showtell.experiments.study import TuningStudy, storage_errors

    with locked_directory(out), storage_errors(out):
        _claim(out, settings)
        study = TuningStudy(out, base, space, is_pruned=is_pruned)
        study.replace_killed()
        if combinations is not None:
            study.enqueue_missing(combinations[:total])
        while (done := len(study.finished())) < total:
            note(f"trial {done + 1} of {total}")
            study.run_trial(build, train_one)
            write_tables(study.result())
        result = study.result()
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


def _as_begun(recipe: Recipe, out: Path) -> list[str]:
    """Return the override without the adapted keys that the version which began a tuning did not know."""
    try:
        stored = read_manifest(out, KIND, FORMAT)["recipe"]
    except DataError:
        return []
    return [f"training.adapt={json.dumps(known_adapted_keys(recipe, stored))}"]


def _check_environment() -> None:
    if local_rank() is not None:
        raise ConfigError(
            "tuning uses a single process",
            found="several",
            mend="Start it without accelerate launch or torchrun",
        )
    optuna = import_extra("optuna", extra="tune")
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def _claim(out: Path, settings: dict[str, Any]) -> None:
    """Make the directory of a tuning; ConfigError: it holds another one."""
    stored = with_new_keys(claim_directory(out, KIND, FORMAT, settings))
    changed = differences(stored, json.loads(json.dumps(settings)))
    if changed:
        raise ConfigError(f"{out} holds another tuning", found="; ".join(changed), mend="Choose another -o")
