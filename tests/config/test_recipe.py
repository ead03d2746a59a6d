"""Recipes: shipped ones load, unknown keys are answered with near names, all problems at once."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from showtell.config.base import models_in
from showtell.config.decoders import DecoderSpec
from showtell.config.preprocessing import CornerCrop
from showtell.config.recipe import (
    CrossEntropy,
    Recipe,
    SelfCritical,
    dump_recipe,
    load_recipe,
    parse_recipe,
    shipped_recipes,
)
from showtell.config.renamed import RENAMED_KEYS, RENAMED_VALUES
from showtell.errors import ConfigError


def test_recipes_are_shipped() -> None:
    assert "flickr8k-attention" in shipped_recipes()


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_loads_and_its_header_says_what_it_is(name: str) -> None:
    load_recipe(name)
    header = [
        line
        for line in shipped_recipes()[name].read_text(encoding="utf-8").splitlines()
        if line.startswith("#")
    ]
    for word in ("Reproduces:", "Command:", "Hardware:", "Minutes:", "Score:"):
        assert any(word in line for line in header), f"{name} has no '{word}'"


def test_a_dumped_recipe_is_complete_and_reads_back(tmp_path: Path) -> None:
    recipe = load_recipe("flickr8k-attention", ["training.seed=7"])
    path = tmp_path / "copy.yaml"
    path.write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe
    assert set(yaml.safe_load(path.read_text(encoding="utf-8"))) == set(Recipe.model_fields)


@pytest.mark.parametrize(
    ("override", "where", "value"),
    [
        ("optimizer.lr=3e-4", ("optimizer", "lr"), 3e-4),
        ("training.precision=bf16", ("training", "precision"), "bf16"),
        ("tokenizer.max_size=null", ("tokenizer", "max_size"), None),
        ("training.trackers=[tensorboard]", ("training", "trackers"), ["tensorboard"]),
    ],
)
def test_an_override_changes_its_key(override: str, where: tuple[str, str], value: Any) -> None:
    recipe = load_recipe("flickr8k-attention", [override])
    assert getattr(getattr(recipe, where[0]), where[1]) == value


def test_an_override_reaches_into_phases() -> None:
    assert load_recipe("flickr8k-attention", ["objective.0.epochs=3"]).objective[0].epochs == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lrr=1", r"unknown key 'optimizer\.lrr'\. Did you mean 'lr'\?"),
        ("optimiser.lr=1", r"unknown key 'optimiser'\. Did you mean 'optimizer'\?"),
        ("decoder.hiden=3", r"Did you mean 'hidden'\?"),
        ("optimizer.lr=fast", r"'optimizer\.lr'.*found 'fast'"),
        ("optimizer.lr=-1", r"'optimizer\.lr'.*greater than 0"),
        (
            "decoder.name=lstm",
            r"unknown key 'decoder\.attention'\. Known: dropout, embedding, hidden, image_head, layers, name",
        ),
        ("objective.0.epoch=3", r"unknown key 'objective\.0\.epoch'\. Did you mean 'epochs'\?"),
        ("decoder.name=perceptron", r"'decoder\.name': found 'perceptron'\. Known: adaptive, attention"),
        ("decoder.name=atention", r"'decoder\.name': found 'atention'\. Did you mean 'attention'\?$"),
        ("objective.0.name=self-critcal", r"Did you mean 'self-critical'\?$"),
        ("schedule.name=cosin", r"Did you mean 'cosine'\?$"),
        ("encoder.trainable=true", r"used: data\.augment\.mode=corner_crops caches features[^{}]*$"),
        ("optimizer.betas=[0.9, 1.0]", r"'optimizer\.betas\.1'.*less than 1"),
        ("optimizer.betas=[-0.1, 0.9]", r"'optimizer\.betas\.0'.*greater than or equal to 0"),
        ("training.seed=9223372036854775808", r"'training\.seed'.*less than or equal to 9223372036854775807"),
        ("optimizer.lr", r"expected key=value"),
        ("optimizer.lr.x=1", r"'lr', which has no keys"),
        ("objective.5.epochs=1", r"no part 5"),
        ("objective.0=1", r"expected objective\.0\.KEY=value"),
        ("optimizer.lr=" + "[" * 5_000, "more than 64 levels"),
        ("optimizer.lr=" + "9" * 5_000, "a whole number of 5,000 digits"),
        ("generation.beam_size=0", r"'generation\.beam_size'.*greater than or equal to 1"),
    ],
)
def test_a_bad_override_is_answered_with_what_would_be_right(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe("flickr8k-best", [override])


def test_a_message_quotes_the_beginning_of_a_long_value_and_of_many_problems() -> None:
    values = {"optimizer": {"lr": ["x" * 10_000] * 100}, **{f"{key}" * 1_000: 1 for key in range(100)}}
    with pytest.raises(ConfigError, match=r"and \d+ more$") as error:
        parse_recipe(values, "this recipe")
    assert len(str(error.value)) < 20_000


def test_a_recipe_that_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ConfigError, match=r"pipe\.yaml: found a named pipe, not a file"):
        load_recipe(tmp_path / "pipe.yaml")


def test_all_problems_are_in_one_message() -> None:
    with pytest.raises(ConfigError, match=r"'optimizer\.lrr'.*'training\.batch_size'"):
        parse_recipe({"optimizer": {"lrr": 1}, "training": {"batch_size": "many"}}, "this recipe")


@pytest.mark.parametrize(("old", "new"), RENAMED_KEYS.items())
def test_a_former_key_is_answered_with_its_new_name(old: str, new: str) -> None:
    old, new = old.replace(".N", ".0"), new.replace(".N", ".0")
    if old == "search":
        old, new = "search.top_k", "generation.top_k"
    message = f"unknown key '{old}'. {f'It is called {new} now' if new else 'It was removed'}"
    with pytest.raises(ConfigError, match=f"{re.escape(message)}$"):
        load_recipe("flickr8k-best", [f"{old}=1"])


@pytest.mark.parametrize(("old", "new"), RENAMED_VALUES.items())
def test_a_former_value_is_answered_with_its_new_name(old: str, new: str) -> None:
    value = old.partition("=")[2]
    with pytest.raises(ConfigError, match=f"'data.augment.mode': '{value}' is called '{new}' now$"):
        load_recipe("flickr8k-best", [old])
    with pytest.raises(ConfigError, match=f"called data.augment.mode now, and '{value}' is called '{new}'$"):
        load_recipe("flickr8k-best", [f"data.augment.views={value}"])


def test_every_new_name_is_a_key() -> None:
    recipe = load_recipe("flickr8k-best").model_dump(mode="json")
    phase = set(CrossEntropy.model_fields) | set(SelfCritical.model_fields)
    decoder = {name for kind in models_in(DecoderSpec) for name in kind.model_fields}
    known = {
        *recipe,
        *(
            f"{section}.{key}"
            for section in recipe
            if isinstance(recipe[section], dict)
            for key in recipe[section]
        ),
        *(f"data.augment.{key}" for key in recipe["data"]["augment"]),
        *(f"encoder.preprocessing.corner.{key}" for key in CornerCrop.model_fields),
        *(f"objective.N.{key}" for key in phase),
        *(f"decoder.{key}" for key in decoder),
    }
    assert set(filter(None, RENAMED_KEYS.values())) <= known


def test_an_unknown_recipe_is_answered_with_a_near_name() -> None:
    with pytest.raises(ConfigError, match=r"no recipe is named 'flickr8k-atention'.*'flickr8k-attention'"):
        load_recipe("flickr8k-atention")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", "is not YAML"),
        ("- 1", "expected keys and values"),
        (None, "cannot read recipe"),
        ("[" * 5_000, "more than 64 levels"),
        ("training: {seed: " + "9" * 5_000 + "}", "a whole number of 5,000 digits"),
        ("data: &same {}\nencoder: *same", r"the alias \*same: write the value out"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_recipe(path)


def test_every_key_has_a_description() -> None:
    def missing(model: type[BaseModel]) -> list[str]:
        names = [
            f"{model.__name__}.{name}" for name, field in model.model_fields.items() if not field.description
        ]
        inner = [kind for field in model.model_fields.values() for kind in models_in(field.annotation)]
        return names + [name for kind in inner for name in missing(kind)]

    assert missing(Recipe) == []
