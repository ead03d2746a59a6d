"""Training with images held out: they are validated on, never learned from, and never in a datastore."""

from __future__ import annotations

from pathlib import Path

import pytest

from showtell.checkpoints.checkpoint import load_checkpoint
from showtell.config.recipe import Recipe, parse_recipe
from showtell.data.prepared import PreparedSet
from showtell.errors import ConfigError, DataError
from showtell.experiments.index import index_captions
from showtell.experiments.leaderboard.evaluate import collect
from showtell.training.evaluate import evaluate_checkpoint
from showtell.training.trainer import train


@pytest.fixture(scope="module")
def held_out(toy_recipe: Recipe, toy_set: PreparedSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = toy_recipe.model_dump(mode="json")
    values["data"]["holdout"] = 6
    values["validation"]["split"] = "holdout"
    run = tmp_path_factory.mktemp("runs") / "held-out"
    train(parse_recipe(values, "a recipe"), data=toy_set.directory, out=run, device="cpu")
    return run


@pytest.fixture(scope="module")
def whole(toy_recipe: Recipe, toy_set: PreparedSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A captioner that learned from all training images."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(toy_recipe, data=toy_set.directory, out=run, device="cpu")
    return run


def test_the_split_holdout_is_validated_on_and_not_learned_from(held_out: Path, toy_set: PreparedSet) -> None:
    config = load_checkpoint(held_out).config
    assert config["data"]["pictures"] == 10
    rows = evaluate_checkpoint(held_out, data=toy_set.directory, split="holdout").rows
    assert rows == toy_set.hold_out(6).split_rows("holdout").tolist()
    assert len(evaluate_checkpoint(held_out, data=toy_set.directory, split="train").rows) == 10


@pytest.mark.thorough
def test_its_datastore_does_not_know_them(held_out: Path, toy_set: PreparedSet, tmp_path: Path) -> None:
    index_captions(held_out, tmp_path / "captioner", data=toy_set.directory)
    datastore = load_checkpoint(tmp_path / "captioner").datastore
    assert datastore is not None
    assert len(datastore) == 10
    assert evaluate_checkpoint(tmp_path / "captioner", data=toy_set.directory, split="holdout").texts
    with pytest.raises(DataError, match="found 10 of 10 in its datastore"):
        evaluate_checkpoint(tmp_path / "captioner", data=toy_set.directory, split="train")


@pytest.mark.thorough
def test_captioners_are_compared_on_images_that_all_held_out(
    held_out: Path, toy_recipe: Recipe, toy_set: PreparedSet, tmp_path: Path
) -> None:
    for count in (0, 4):
        values = toy_recipe.model_dump(mode="json")
        values["data"]["holdout"] = count
        train(
            parse_recipe(values, "a recipe"), data=toy_set.directory, out=tmp_path / str(count), device="cpu"
        )
    options = {"data": toy_set.directory, "split": "holdout", "evaluations": tmp_path / "evaluations"}
    table = collect([held_out, tmp_path / "0", tmp_path / "4"], **options)
    assert [row.name for row in table.rows] == ["held-out"]
    assert set(table.rows[0].captions) == {
        toy_set.key(int(row)) for row in toy_set.hold_out(6).split_rows("holdout")
    }
    assert "no images in split 'holdout'" in str(table.failures[tmp_path / "0"])
    assert "found 4 images, by what its training held out; expected 6" in str(table.failures[tmp_path / "4"])


def test_a_captioner_that_held_nothing_out_has_no_such_split(
    toy_recipe: Recipe, toy_set: PreparedSet, tmp_path: Path
) -> None:
    values = toy_recipe.model_dump(mode="json")
    values["validation"]["split"] = "holdout"
    with pytest.raises(ConfigError, match="no images in split 'holdout'"):
        train(parse_recipe(values, "a recipe"), data=toy_set.directory, out=tmp_path / "run", device="cpu")


def test_training_images_of_captioners_that_held_others_out_are_not_compared(
    held_out: Path, whole: Path, toy_set: PreparedSet, tmp_path: Path
) -> None:
    table = collect([held_out, whole], data=toy_set.directory, split="train", evaluations=tmp_path / "cache")
    assert [len(row.captions) for row in table.rows] == [10]
    assert "found 16 images, by what its training held out; expected 10" in str(table.failures[whole])


@pytest.mark.thorough
def test_an_ensemble_has_held_out_what_all_its_members_did(
    held_out: Path, whole: Path, toy_set: PreparedSet
) -> None:
    options = {"data": toy_set.directory, "split": "holdout"}
    assert len(evaluate_checkpoint(held_out, ensemble_with=[held_out], **options).rows) == 6
    with pytest.raises(ConfigError, match="no images in split 'holdout'"):
        evaluate_checkpoint(held_out, ensemble_with=[whole], **options)


def test_training_further_on_what_a_captioner_has_learned_is_told(
    held_out: Path,
    whole: Path,
    toy_recipe: Recipe,
    toy_set: PreparedSet,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    values = toy_recipe.model_dump(mode="json")
    values["data"]["holdout"] = 6
    for start, is_warned in ((whole, True), (held_out, False)):
        values["training"]["init_from"] = str(start)
        train(
            parse_recipe(values, "a recipe"), data=toy_set.directory, out=tmp_path / start.name, device="cpu"
        )
        told = f"{start} has learned from 6 of the 6 held-out images" in capsys.readouterr().err
        assert told == is_warned
