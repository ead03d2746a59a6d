"""Runs that tests of the leaderboard and of comparisons share: trained once, never changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from showtell.config.recipe import Recipe
from showtell.data.prepared import PreparedSet
from showtell.experiments.seeds import train_seeds
from showtell.training.trainer import train


@pytest.fixture(scope="session")
def toy_runs(toy_set: PreparedSet, toy_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``one/``, a run whose epoch was chosen on dev, and ``both/``, two seeds chosen on train."""
    folder = tmp_path_factory.mktemp("runs")
    train(toy_recipe, data=toy_set.directory, out=folder / "one")
    elsewhere = toy_recipe.validation.model_copy(update={"split": "train", "metric": "BLEU-4"})
    other = toy_recipe.model_copy(
        update={
            "validation": elsewhere,
            "generation": toy_recipe.generation.model_copy(update={"beam_size": 2, "length_penalty": 0.5}),
        }
    )
    train_seeds(other, 2, data=toy_set.directory, out=folder / "both")
    return folder
