"""Tuning: seeded draws, pruning by epoch, grids, failures kept, killed trials gone on with, one table."""

from __future__ import annotations

import csv
import json
import math
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from showtell.config.recipe import CrossEntropy, Recipe, ValidationOptions, dump_recipe
from showtell.data.prepared import PreparedSet
from showtell.errors import ConfigError, DataError, MissingExtraError, TrainingError
from showtell.experiments import tuning as module
from showtell.experiments.tuning import tune
from showtell.system.atomic import write_summed_json
from showtell.system.locks import locked_directory

# A pretended training's CIDEr-D by epoch, from its learning rate: best at 0.1.
EPOCHS = 4


class Killed(BaseException):
    """Stands for the end of the process."""


class Pretend:
    """Stands in for `train`: writes the metrics of a run that was given a learning rate, epoch by epoch.

    Args:
        kill: The call that is killed after its second epoch.
        diverge: Rates above this one end with a loss that is not finite, in their second epoch.
        adapted: Keys of the recipe's sections that are adapted to the training set.
        is_flat: All scores are equal, and the losses fall.
    """

    def __init__(
        self,
        kill: int = -1,
        diverge: float = 1e9,
        adapted: dict[str, Any] | None = None,
        is_flat: bool = False,
    ) -> None:
        self.kill, self.diverge, self.calls = kill, diverge, list[tuple[str, float]]()
        self.adapted, self.is_flat = adapted or {}, is_flat

    def __call__(self, recipe: Recipe, *, out: Path, on_validation: Callable[..., None], **keys: Any) -> None:
        recipe = recipe.model_copy(update=self.adapted)
        rate = recipe.optimizer.lr
        self.calls.append((out.name, rate))
        out.mkdir(exist_ok=True)
        (out / "best").mkdir(exist_ok=True)
        (out / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
        path = out / "metrics.jsonl"
        done = len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0
        for epoch in range(done + 1, recipe.objective[0].epochs + 1):
            if rate > self.diverge and epoch == 2:
                raise TrainingError("training cannot go on at step 9", found="a loss of nan", mend="...")
            value = epoch * (1.0 - abs(rate - 0.1))
            row = {"loss": 5.0 - value, "BLEU-4": value / 10, "ROUGE-L": value / 5, "CIDEr-D": value}
            if self.is_flat:
                row["CIDEr-D"] = 0.0
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"event": "validation", "step": epoch, "epoch": epoch, **row}) + "\n")
            if len(self.calls) - 1 == self.kill and epoch == 2:
                raise Killed
            on_validation(epoch, row)


@pytest.fixture
def recipe(toy_recipe: Recipe, tmp_path: Path) -> Path:
    path = tmp_path / "toy.yaml"
    path.write_text(dump_recipe(toy_recipe), encoding="utf-8")
    return path


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Pretend]:
    def install(**keys: Any) -> Pretend:
        stand_in = Pretend(**keys)
        monkeypatch.setattr(module, "train", stand_in)
        return stand_in

    return install


@pytest.fixture
def run(recipe: Path, toy_set: PreparedSet, tmp_path: Path) -> Callable[..., Any]:
    def run(name: str = "tuned", **keys: Any) -> Any:
        return tune(recipe, data=toy_set.directory, out=tmp_path / name, **{"epochs": EPOCHS, **keys})

    return run


def test_the_best_of_the_trials_is_found_and_told(
    run: Callable[..., Any], pretend: Callable[..., Pretend], tmp_path: Path
) -> None:
    stand_in = pretend()
    result = run(trials=7, searches=["optimizer.lr=0.001..1:log"])
    assert len(stand_in.calls) == len(result.trials) == 7
    done = [trial for trial in result.trials if trial.state == "done"]
    pruned = [trial for trial in result.trials if trial.state == "pruned"]
    assert done
    assert pruned
    assert {trial.state for trial in result.trials[:3]} == {"done"}
    assert all(trial.epochs == EPOCHS for trial in done)
    assert all(2 <= trial.epochs < EPOCHS for trial in pruned)
    assert result.best == max(done, key=lambda trial: trial.scores["CIDEr-D"])
    assert result.best.best_epoch == EPOCHS
    rate = result.best.values["optimizer.lr"]
    assert result.table().splitlines()[-1] == f"best by CIDEr-D: --set optimizer.lr={rate}"
    assert re.search(rf"^{result.trials.index(result.best) + 1} \* +{rate}", result.table(), re.MULTILINE)
    # Weights stay for the best alone.
    assert [path.parent.name for path in (tmp_path / "tuned").glob("*/best")] == [result.best.run]
    with (tmp_path / "tuned" / "trials.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["optimizer.lr"] for row in rows] == [trial.values["optimizer.lr"] for trial in result.trials]
    assert float(rows[0]["CIDEr-D"]) == result.trials[0].scores["CIDEr-D"]
    table = json.loads((tmp_path / "tuned" / "tuning.json").read_text(encoding="utf-8"))
    assert (table["kind"], table["format"], table["best"]) == ("showtell tuning table", 1, result.best.run)


@pytest.mark.thorough
def test_a_trial_may_be_pruned_in_the_epochs_that_a_small_set_adds(
    run: Callable[..., Any], pretend: Callable[..., Pretend]
) -> None:
    pretend(adapted={"objective": [CrossEntropy(epochs=6)]})
    result = run(trials=7, epochs=2, searches=["optimizer.lr=0.001..1:log"])
    assert {trial.epochs for trial in result.trials if trial.state == "done"} == {6}
    assert any(trial.state == "pruned" for trial in result.trials)


@pytest.mark.parametrize("select", [pytest.param("best", marks=pytest.mark.thorough), "last"])
def test_the_table_has_the_epoch_of_best(
    run: Callable[..., Any], pretend: Callable[..., Pretend], select: str
) -> None:
    pretend(is_flat=select == "best", adapted={"validation": ValidationOptions(select=select)})
    result = run(grid=True, searches=["optimizer.lr=0.1,0.2"])
    assert {trial.best_epoch for trial in result.trials} == {EPOCHS}


@pytest.mark.thorough
def test_a_tuning_of_an_earlier_version_resumes_as_it_began(
    run: Callable[..., Any], pretend: Callable[..., Pretend], tmp_path: Path
) -> None:
    pretend()
    run(trials=1)
    path = tmp_path / "tuned" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    del manifest["recipe"]["training"]["adapt"], manifest["recipe"]["validation"]["select"]
    write_summed_json(path, manifest)
    result = run(trials=2, overrides=["training.adapt=[schedule.warmup_steps]"])
    assert len(result.trials) == 2
    assert "adapt: []" in (tmp_path / "tuned" / "trial-1" / "recipe.yaml").read_text(encoding="utf-8")


@pytest.mark.thorough
def test_going_on_gives_what_one_go_gives(run: Callable[..., Any], pretend: Callable[..., Pretend]) -> None:
    pretend()
    whole = run("whole", trials=4)
    parts = [run("parts", trials=trials) for trials in (1, 4)]
    assert [trial.values for trial in parts[-1].trials] == [trial.values for trial in whole.trials]
    assert len({trial.values["optimizer.lr"] for trial in whole.trials}) == 4
    stand_in = pretend()
    assert run("whole", trials=4).table() == whole.table()
    assert stand_in.calls == []


@pytest.mark.thorough
def test_a_killed_trial_is_replaced_by_one_that_goes_on_with_its_run(
    run: Callable[..., Any], pretend: Callable[..., Pretend], tmp_path: Path
) -> None:
    pretend()
    whole = run("whole", trials=4, prune=False)
    killed = pretend(kill=2)
    with pytest.raises(Killed):
        run("cut", trials=4, prune=False)
    stand_in = pretend()
    result = run("cut", trials=4, prune=False)
    assert stand_in.calls[0] == killed.calls[2]
    assert [trial.run for trial in result.trials[:3]] == ["trial-0", "trial-1", "trial-2"]
    assert [trial.values for trial in result.trials] == [trial.values for trial in whole.trials]
    assert [trial.epochs for trial in result.trials] == [EPOCHS] * 4

    import optuna

    study = optuna.load_study(study_name="showtell", storage=f"sqlite:///{tmp_path / 'cut' / 'study.db'}")
    assert [trial.state.name for trial in study.trials] == [
        "COMPLETE",
        "COMPLETE",
        "FAIL",
        "COMPLETE",
        "COMPLETE",
    ]
    # The validations before the kill are told to the study too.
    assert sorted(study.trials[3].intermediate_values) == [1, 2, 3, 4]


def test_a_grid_tries_every_combination_to_its_end(
    run: Callable[..., Any], pretend: Callable[..., Pretend]
) -> None:
    searches = ["optimizer.lr=0.5,0.1", "decoder.dropout=0.1,0.3"]
    pretend(kill=1)
    with pytest.raises(Killed):
        run(grid=True, searches=searches)
    pretend()
    result = run(grid=True, searches=searches)
    assert [tuple(trial.values.values()) for trial in result.trials] == [
        (rate, dropout) for rate in ("0.5", "0.1") for dropout in ("0.1", "0.3")
    ]
    assert {(trial.state, trial.epochs) for trial in result.trials} == {("done", EPOCHS)}
    assert result.best.values == {"optimizer.lr": "0.1", "decoder.dropout": "0.1"}


@pytest.mark.thorough
def test_a_loss_that_is_not_finite_fails_its_trial_alone(
    run: Callable[..., Any], pretend: Callable[..., Pretend], tmp_path: Path
) -> None:
    pretend(diverge=0.5)
    result = run(grid=True, searches=["optimizer.lr=0.9,0.1"])
    first, second = result.trials
    assert (first.state, first.epochs, first.error) == (
        "failed",
        1,
        "training cannot go on at step 9: a loss of nan",
    )
    assert second.state == "done"
    assert result.best == second
    stand_in = pretend()
    assert run(grid=True, searches=["optimizer.lr=0.9,0.1"]).trials == result.trials
    assert stand_in.calls == []


def test_a_training_that_really_diverges_fails_its_trial_alone(run: Callable[..., Any]) -> None:
    # Rewards beyond float32: the loss of the first step is not finite.
    phase = "[{name: self-critical, epochs: 1, bleu: 1.0, cider: 0.0}]"
    searches = ["objective.0.bleu=1e200,1.0"]
    result = run(grid=True, searches=searches, overrides=[f"objective={phase}"], epochs=None, subset=8)
    assert [trial.state for trial in result.trials] == ["failed", "done"]
    assert "training diverged" in result.trials[0].error


@pytest.mark.thorough
def test_without_a_finished_trial_there_is_no_best(
    run: Callable[..., Any], pretend: Callable[..., Pretend]
) -> None:
    pretend(diverge=0.0)
    result = run(trials=1)
    assert result.best is None
    assert result.table().splitlines()[-1] == "no trial finished"


@pytest.mark.thorough
def test_the_loss_is_minimised(run: Callable[..., Any], pretend: Callable[..., Pretend]) -> None:
    pretend()
    searches = ["optimizer.lr=0.5,0.1"]
    result = run(grid=True, searches=searches, overrides=["validation.metric=loss"])
    assert result.best.values == {"optimizer.lr": "0.1"}
    assert result.table().splitlines()[-1] == "best by loss: --set optimizer.lr=0.1"


def test_another_tuning_in_the_same_place_is_refused(
    run: Callable[..., Any], pretend: Callable[..., Pretend]
) -> None:
    pretend()
    run(trials=1, subset=8)
    with pytest.raises(ConfigError, match=r"another tuning.*recipe\.data\.subset: 8 → 4.*Choose another -o"):
        run(trials=1, subset=4)
    with pytest.raises(ConfigError, match=r"another tuning: found search: .*log.* → .*0\.1\.\.0\.2"):
        run(trials=1, subset=8, searches=["optimizer.lr=0.1..0.2"])


@pytest.mark.thorough
def test_two_processes_never_tune_the_same(
    run: Callable[..., Any], pretend: Callable[..., Pretend], tmp_path: Path
) -> None:
    pretend()
    run(trials=1)
    with (
        locked_directory(tmp_path / "tuned"),
        pytest.raises(DataError, match=r"tuned is in use by another process"),
    ):
        run(trials=2)
    assert len(run(trials=2).trials) == 2


@pytest.fixture
def full_disk() -> Iterator[Callable[[float], None]]:
    """Let SQLite write so many statements, and fail all later ones."""
    left = [math.inf]

    def execute(cursor: Any, statement: str, *others: object) -> None:
        if not statement.lstrip().upper().startswith(("SELECT", "PRAGMA")):
            left[0] -= 1
            if left[0] < 0:
                raise sqlite3.OperationalError("database or disk is full")

    event.listen(Engine, "do_execute", execute)
    yield lambda count: left.__setitem__(0, count)
    event.remove(Engine, "do_execute", execute)


@pytest.mark.parametrize(
    "writes", [20, *(pytest.param(writes, marks=pytest.mark.thorough) for writes in (0, 45, 60))]
)
def test_a_full_disk_is_one_line_and_the_same_command_resumes(
    run: Callable[..., Any],
    pretend: Callable[..., Pretend],
    full_disk: Callable[[float], None],
    writes: int,
) -> None:
    pretend()
    keys = {"searches": ["optimizer.lr=0.01,0.1,0.5"], "grid": True}
    full_disk(writes)
    expected = r"study\.db: found database or disk is full\. Free some space, then run"
    with pytest.raises(DataError, match=expected) as error:
        run(**keys)
    assert "\n" not in str(error.value)
    full_disk(math.inf)
    assert run(**keys).table() == run("undisturbed", **keys).table()


def test_a_storage_that_is_none_is_one_line(
    run: Callable[..., Any], pretend: Callable[..., Pretend], tmp_path: Path
) -> None:
    pretend()
    run(trials=1, searches=["optimizer.lr=0.01..1"])
    (tmp_path / "tuned" / "study.db").write_bytes(b"something else" * 1000)
    with pytest.raises(DataError, match=r"study\.db: found file is not a database\. Move it away"):
        run(trials=2, searches=["optimizer.lr=0.01..1"])


def test_misuse_is_told_before_anything_is_made(
    run: Callable[..., Any], pretend: Callable[..., Pretend], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend()
    with pytest.raises(
        ConfigError, match=r"--trials 3 cannot be used: expected at least 1 and at most the 2"
    ):
        run(trials=3, grid=True, searches=["optimizer.lr=0.1,0.2"])
    phases = "[{name: cross-entropy, epochs: 1}, {name: cross-entropy, epochs: 1}]"
    with pytest.raises(ConfigError, match=r"--epochs 4 cannot be used: found a recipe of 2 phases"):
        run(trials=1, overrides=[f"objective={phases}"])
    with monkeypatch.context() as patch:
        patch.setenv("RANK", "0")
        patch.setenv("LOCAL_RANK", "0")
        patch.setenv("WORLD_SIZE", "2")
        with pytest.raises(ConfigError, match=r"tuning uses a single process: found several"):
            run(trials=1)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"optuna is not available.*install -e '\.\[tune\]'"):
        run(trials=1)
    assert not (tmp_path / "tuned").exists()


def test_a_place_that_is_no_tuning_is_never_written_into(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match="is not a showtell tuning"):
        run(trials=1)
    assert [path.name for path in (tmp_path / "tuned").iterdir()] == ["thesis.txt"]


@pytest.mark.thorough
def test_real_trainings_share_the_recipe_but_for_what_is_searched(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    result = run(trials=2, epochs=1, subset=8, searches=["optimizer.lr=0.001,0.02"], grid=True)
    assert [trial.state for trial in result.trials] == ["done", "done"]
    recipes = [(tmp_path / "tuned" / trial.run / "recipe.yaml").read_text() for trial in result.trials]
    assert [recipe.replace("lr: 0.001", "lr: 0.02") for recipe in recipes] == [recipes[1]] * 2
    assert "subset: 8" in recipes[0]
    assert result.trials[0].loss != result.trials[1].loss


def test_a_trial_that_truly_diverges_fails_alone(run: Callable[..., Any], tmp_path: Path) -> None:
    # A second moment that forgets at once: an embedding without a gradient in a step moves by moment / 1e-8.
    overrides = ["optimizer.betas=[0.9,0.0]", "training.ema_decay=0.0", "optimizer.max_grad_norm=0"]
    result = run(searches=["optimizer.lr=1e-9,1.0"], grid=True, overrides=overrides)
    assert [trial.state for trial in result.trials] == ["done", "failed"]
    study = json.loads((tmp_path / "tuned" / "tuning.json").read_text(encoding="utf-8"))
    assert "diverged" in json.dumps(study)
