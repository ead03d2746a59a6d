"""Several seeds of one recipe: each a run of its own, gone on with, never done twice, told as mean and spread."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from showtell.config.recipe import Recipe
from showtell.data.prepared import PreparedSet
from showtell.errors import ConfigError, DataError
from showtell.experiments import seeds as module
from showtell.experiments.seeds import mean_std, train_seeds


def test_the_spread_is_that_of_a_sample() -> None:
    values = [0.19, 0.21, 0.23]
    spread = mean_std([{"BLEU-4": value} for value in values])["BLEU-4"]
    assert (spread.mean, spread.min, spread.max) == (pytest.approx(0.21), 0.19, 0.23)
    assert spread.std == pytest.approx(0.02)
    assert mean_std([{"BLEU-4": 0.2}])["BLEU-4"].std is None


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The runs that were really trained, by name and seed."""
    calls: list[tuple[str, int]] = []
    train = module.train

    def watch(recipe: Recipe, **keys: Any) -> Any:
        calls.append((keys["out"].name, recipe.training.seed))
        return train(recipe, **keys)

    monkeypatch.setattr(module, "train", watch)
    return calls


@pytest.mark.thorough
def test_seeds_are_trained_once_each_and_more_may_follow(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path, trained: list[tuple[str, int]]
) -> None:
    recipe = toy_recipe.model_copy(update={"training": toy_recipe.training.model_copy(update={"seed": 7})})
    out = tmp_path / "seeds"
    first = train_seeds(recipe, 1, data=toy_set.directory, out=out)
    assert trained == [("seed-7", 7)]
    result = train_seeds(recipe, 2, data=toy_set.directory, out=out)
    assert trained == [("seed-7", 7), ("seed-8", 8)]
    assert first.runs[0] == result.runs[0]
    again = train_seeds(recipe, 2, data=toy_set.directory, out=out)
    assert len(trained) == 2
    assert again.table() == result.table()
    losses = [
        json.loads((run.run / "metrics.jsonl").read_text().splitlines()[0])["loss"] for run in result.runs
    ]
    assert losses[0] != losses[1]
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert (summary["kind"], summary["format"]) == ("showtell seeds summary", 1)
    assert [one["seed"] for one in summary["seeds"]] == [7, 8]
    scores = [one["scores"]["CIDEr-D"] for one in summary["seeds"]]
    assert summary["scores"]["CIDEr-D"]["mean"] == pytest.approx(statistics.fmean(scores))
    assert result.table().splitlines()[0].split() == [
        "x100",
        "mean",
        "std",
        "min",
        "max",
        "seed",
        "7",
        "seed",
        "8",
    ]
    assert result.table().splitlines()[-1] == result.runs[0].signature


@pytest.mark.thorough
def test_finished_seeds_of_another_recipe_are_refused(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path
) -> None:
    short = toy_recipe.model_copy(
        update={"objective": [toy_recipe.objective[0].model_copy(update={"epochs": 1})]}
    )
    train_seeds(short, 1, data=toy_set.directory, out=tmp_path / "seeds")
    other = short.model_copy(update={"optimizer": short.optimizer.model_copy(update={"lr": 0.5})})
    with pytest.raises(ConfigError, match=r"another run.*recipe\.optimizer\.lr: 0\.01 → 0\.5"):
        train_seeds(other, 1, data=toy_set.directory, out=tmp_path / "seeds")


def test_a_place_that_holds_something_else_is_refused(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"is not a showtell seeds: found a prepared set"):
        train_seeds(toy_recipe, 2, data=toy_set.directory, out=toy_set.directory)
    with pytest.raises(ConfigError, match=r"--seeds 0 cannot be used: expected 1 to 100"):
        train_seeds(toy_recipe, 0, data=toy_set.directory, out=tmp_path / "seeds")
    assert not (tmp_path / "seeds").exists()


def test_finished_seeds_of_a_recipe_that_trains_on_are_recognised(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path, trained: list[tuple[str, int]]
) -> None:
    module.train(toy_recipe, data=toy_set.directory, out=tmp_path / "first")
    training = toy_recipe.training.model_copy(update={"init_from": str(tmp_path / "first")})
    recipe = toy_recipe.model_copy(update={"training": training})
    for _ in range(2):
        train_seeds(recipe, 1, data=toy_set.directory, out=tmp_path / "seeds")
    assert trained == [("first", 0), ("seed-0", 0)]
