"""A run that is resumed keeps its own vocabulary and its own numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from showtell.checkpoints.hub import DECODER
from showtell.config.recipe import Recipe, load_recipe, parse_recipe
from showtell.data.prepared import PreparedSet
from showtell.errors import ConfigError
from showtell.system.atomic import write_summed_json
from showtell.tokenizer import Tokenizer
from showtell.training.trainer import train


def never(*_: object, **__: object) -> Tokenizer:
    raise AssertionError("the captions of a resumed run give no new vocabulary")


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["words", "bpe"])
def test_a_resumed_run_has_the_vocabulary_that_it_began_with(
    toy_set: PreparedSet,
    toy_recipe: Recipe,
    cut_before: Callable[[int], AbstractContextManager[None]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    values = toy_recipe.model_dump(mode="json")
    values["tokenizer"] = {"kind": kind, "min_count": 1, "max_size": 300}
    values["training"]["adapt"] = ["schedule.warmup_steps", "tokenizer.min_count", "data.max_tokens"]
    recipe = parse_recipe(values, "a recipe")
    train(recipe, data=toy_set.directory, out=tmp_path / "whole")
    with cut_before(5):
        train(recipe, data=toy_set.directory, out=tmp_path / "cut")
    monkeypatch.setattr(Tokenizer, "fit", never)
    train(recipe, data=toy_set.directory, out=tmp_path / "cut")
    first, second = (load_file(tmp_path / run / "last" / DECODER) for run in ("whole", "cut"))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("section", "later"), [("training", "adapt"), ("schedule", "warmup_steps"), ("validation", "select")]
)
def test_a_run_from_before_a_key_could_be_adapted_resumes_with_its_own_number(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path, section: str, later: str
) -> None:
    values = toy_recipe.model_dump(mode="json")
    values["schedule"]["warmup_steps"] = 200  # the default
    first = train(parse_recipe(values, "a recipe"), data=toy_set.directory, out=tmp_path / "run").progress
    path = tmp_path / "run" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    del manifest["recipe"][section][later]
    write_summed_json(path, manifest)
    values["training"]["adapt"] = (
        ["objective.0.epochs", "schedule.warmup_steps"] if later == "adapt" else [f"{section}.{later}"]
    )
    again = train(parse_recipe(values, "a recipe"), data=toy_set.directory, out=tmp_path / "run").progress
    assert (again.epoch, again.step) == (first.epoch, first.step)


def test_fine_tuning_without_a_captioner_is_refused(toy_set: PreparedSet, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"extend_vocabulary is set.*showtell train --from CHECKPOINT"):
        train(load_recipe("fine-tune"), data=toy_set.directory, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_words_that_the_vocabulary_lacks_are_refused_before_the_first_epoch(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path
) -> None:
    values = toy_recipe.model_dump(mode="json")
    values["generation"]["required"] = "zebra"
    with pytest.raises(ConfigError, match="'required' cannot be used: found 'zebra'"):
        train(parse_recipe(values, "a recipe"), data=toy_set.directory, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
