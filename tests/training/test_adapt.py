"""A recipe's numbers follow a small training set and long captions, unless somebody set them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from showtell.config.recipe import Recipe, load_recipe, parse_recipe, shipped_recipes
from showtell.data.prepared import PreparedSet
from showtell.system.atomic import read_manifest
from showtell.tokenizer import Tokenizer
from showtell.training.adapt import MAX_EPOCHS, adapt_recipe
from showtell.training.run_dir import KIND
from showtell.training.setup import fit_tokenizer
from showtell.training.trainer import train

MakeSet = Callable[..., PreparedSet]
FRUIT = ["apple", "pear", "plum", "fig", "lime", "date", "melon", "peach", "grape", "kiwi"]


def sentences(count: int) -> list[list[str]]:
    """Captions of images, in which each fruit is rarer than five times among common words."""
    return [[f"the {FRUIT[number % 10]} is on the table in the room"] for number in range(count)]


def numbers_of(recipe: Recipe) -> tuple[int, int, int, int]:
    return (
        recipe.objective[0].epochs,
        recipe.schedule.warmup_steps,
        recipe.tokenizer.min_count,
        recipe.data.max_tokens,
    )


def test_a_small_set_trains_for_more_epochs_warms_up_sooner_and_knows_its_words(make_set: MakeSet) -> None:
    small = make_set("small", train=sentences(20), dev=sentences(2))
    recipe, lines = adapt_recipe(load_recipe("flickr8k-attention"), small)
    assert numbers_of(recipe) == (MAX_EPOCHS, 20, 2, 20)
    assert recipe.training.adapt == []
    assert [line.split(" (")[0] for line in lines] == [
        "objective.0.epochs 15 → 100",
        "schedule.warmup_steps 200 → 20",
        "validation.select best → last",
        "tokenizer.min_count 5 → 2",
    ]
    assert adapt_recipe(recipe, small) == (recipe, [])


@pytest.mark.thorough
def test_a_set_of_the_size_that_a_recipe_expects_changes_nothing(make_set: MakeSet) -> None:
    common = [["a dog runs"] * 2, ["a dog sleeps"] * 2] * 100
    large = make_set("large", train=common, dev=common[:10])
    for name in shipped_recipes():
        loaded = load_recipe(name, ["training.batch_size=1"])
        steps = 200 * loaded.objective[0].epochs
        recipe, lines = adapt_recipe(loaded, large)
        assert steps >= 2000 or name == "demo"
        assert lines == []
        assert recipe == loaded.model_copy(
            update={"training": loaded.training.model_copy(update={"adapt": []})}
        )


@pytest.mark.parametrize(
    ("override", "epochs", "warmup", "min_count"),
    [
        ("objective.0.epochs=3", 3, 6 // 10, 2),
        ("schedule.warmup_steps=7", 100, 7, 2),
        ("schedule={warmup_steps: 7}", 100, 7, 2),
        ("tokenizer.min_count=4", 100, 20, 4),
    ],
)
def test_a_number_that_somebody_set_stays(
    make_set: MakeSet, override: str, epochs: int, warmup: int, min_count: int
) -> None:
    small = make_set("small", train=sentences(20), dev=sentences(2))
    recipe, _ = adapt_recipe(load_recipe("flickr8k-attention", [override]), small)
    assert numbers_of(recipe)[:3] == (epochs, warmup, min_count)


def test_long_captions_raise_the_limit_in_training_and_in_decoding(make_set: MakeSet) -> None:
    def of_length(words: int) -> list[str]:
        return [" ".join(["word"] * words)]

    long = make_set("long", train=[of_length(40)] * 18 + [of_length(45)], dev=[of_length(40)])
    recipe, lines = adapt_recipe(load_recipe("flickr8k-attention"), long)
    assert (recipe.data.max_tokens, recipe.generation.max_tokens) == (45, 45)
    assert any("data.max_tokens 20 → 45 (19 of 19 captions are longer)" in line for line in lines)
    longest = make_set("longest", train=[of_length(300)] * 3, dev=[of_length(300)])
    assert adapt_recipe(load_recipe("flickr8k-attention"), longest)[0].generation.max_tokens == 200
    few = make_set("few", train=[of_length(10)] * 40 + [of_length(30)], dev=[of_length(10)])
    assert adapt_recipe(load_recipe("flickr8k-attention"), few)[0].data.max_tokens == 20


@pytest.mark.parametrize(("kind", "limit"), [("characters", 63), ("bpe", 20)])
def test_lengths_are_those_of_the_tokens(make_set: MakeSet, kind: str, limit: int) -> None:
    long = make_set("long", train=[["abcd efgh " * 6 + "xyz"]] * 3, dev=[["abcd"]])
    loaded = load_recipe("flickr8k-attention", [f"tokenizer.kind={kind}"])
    pieces = fit_tokenizer(loaded.tokenizer, long) if kind == "bpe" else None
    assert adapt_recipe(loaded, long, counted=pieces)[0].data.max_tokens == limit


def test_the_limit_of_decoding_is_never_lowered_and_follows_that_of_training(make_set: MakeSet) -> None:
    caption = [" ".join(["word"] * 26)]
    long = make_set("long", train=[caption] * 3, dev=[caption])
    for override, limits in (
        ("generation.max_tokens=30", (26, 30)),
        ("generation={max_tokens: 60}", (26, 60)),
        ("data.max_tokens=12", (12, 20)),
    ):
        recipe, _ = adapt_recipe(load_recipe("flickr8k-attention", [override]), long)
        assert (recipe.data.max_tokens, recipe.generation.max_tokens) == limits
    values = load_recipe("flickr8k-attention").model_dump(mode="json")
    values["generation"]["max_tokens"] = 60
    recipe, lines = adapt_recipe(parse_recipe(values, "a recipe"), long)
    assert recipe.generation.max_tokens == 60
    assert not any("generation" in line for line in lines)


def test_words_of_the_vocabulary_to_start_from_are_not_unknown_nor_is_a_fixed_one_adapted(
    make_set: MakeSet,
) -> None:
    small = make_set("small", train=sentences(20), dev=sentences(2))
    known = Tokenizer.fit([" ".join(FRUIT)], min_count=1)
    extending = ["training.extend_vocabulary=true"]
    for overrides, initial in ((extending, known), ([], Tokenizer.fit(["other"], min_count=1))):
        recipe, _ = adapt_recipe(load_recipe("flickr8k-attention", overrides), small, initial)
        assert recipe.tokenizer.min_count == 5


def test_patience_is_raised_where_validations_follow_after_few_steps(make_set: MakeSet) -> None:
    small = make_set("small", train=sentences(20), dev=sentences(2))
    recipe, _ = adapt_recipe(load_recipe("flickr8k-stacked-attention"), small)
    assert (recipe.training.early_stopping_patience, recipe.schedule.patience) == (400, 150)


def test_a_run_stores_the_adapted_numbers_and_resumes_by_the_same_recipe(
    make_set: MakeSet, toy_recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = make_set("small", train=sentences(4), dev=sentences(2))
    values = toy_recipe.model_dump(mode="json")
    values["schedule"]["warmup_steps"] = 200
    values["training"]["adapt"] = ["schedule.warmup_steps"]
    values["objective"][0]["epochs"] = 20
    recipe = Recipe.model_validate(values)
    for _ in range(2):
        train(recipe, data=small.directory, out=tmp_path / "run")
    stored = read_manifest(tmp_path / "run", KIND, 2)["recipe"]
    assert (stored["schedule"]["warmup_steps"], stored["training"]["adapt"]) == (2, [])
    expected = (
        "adapted to 4 training images and their captions: schedule.warmup_steps 200 → 2 (of 20 steps)\n"
    )
    assert expected in capsys.readouterr().err
