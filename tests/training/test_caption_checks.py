"""Before training, captions that the recipe cuts, does not know or does not split are warned of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from showtell.config.recipe import Recipe, load_recipe
from showtell.data.batches import Batches, BatchOptions
from showtell.data.prepared import PreparedSet
from showtell.encoders.features import Features
from showtell.training.caption_checks import check_captions, repetition_warning
from showtell.training.setup import fit_tokenizer
from showtell.training.trainer import train

CaptionSet = Callable[..., PreparedSet]


class NoFeatures:
    def load(self, rows: np.ndarray, mirrored: np.ndarray, positions: np.ndarray | None = None) -> Features:
        raise AssertionError("captions alone are read")


def check(prepared: PreparedSet, *overrides: str) -> list[str]:
    recipe = load_recipe("demo", [*overrides])
    tokenizer = fit_tokenizer(recipe.tokenizer, prepared)
    options = BatchOptions(4, 5, recipe.data.max_tokens, flip=False, seed=0)
    train, dev = (
        Batches(prepared, prepared.split_rows(split), tokenizer, NoFeatures(), options)
        for split in ("train", "dev")
    )
    return check_captions(recipe, prepared, train, dev)


def varied(count: int, start: int = 0) -> list[list[str]]:
    return [
        [" ".join(f"word{number * (place + 1) % 7 + 7 * place}" for place in range(5))]
        for number in range(start, start + count)
    ]


def test_a_good_set_is_trained_on_without_warnings(caption_set: CaptionSet) -> None:
    assert check(caption_set(train=varied(100), dev=varied(50))) == []


def test_captions_are_cut_at_the_limit_of_the_recipe(caption_set: CaptionSet) -> None:
    reports = [[" ".join(captions * 5)] for captions in varied(60)]
    prepared = caption_set(train=[*varied(20), *reports], dev=varied(50))
    assert check(prepared, "data.max_tokens=30") == []
    assert check(prepared, "data.max_tokens=24") == [
        "60 of 80 training captions are longer than data.max_tokens=24, which cuts them without an end: "
        "--set data.max_tokens=30 --set generation.max_tokens=30 takes all"
    ]


@pytest.mark.thorough
def test_unknown_words_depend_on_the_recipe(caption_set: CaptionSet) -> None:
    train = [[f"{captions[0]} rare{number}"] for number, captions in enumerate(varied(100))]
    prepared = caption_set(train=train, dev=varied(50))
    assert check(prepared) == []
    [found] = check(prepared, "tokenizer.min_count=3")
    assert "16.7 % of the words of the training captions are unknown: --set tokenizer.min_count=1" in found
    assert "with tokenizer.min_count=3, and" in found
    assert check(prepared, "tokenizer.min_count=3", "tokenizer.kind=bpe") == []
    [initial] = check(prepared, "tokenizer.min_count=3", "training.init_from=runs/earlier")
    assert initial.startswith("the vocabulary of training.init_from lacks 16.7 % of the words")
    [limited] = check(prepared, "tokenizer.max_size=20")
    assert "the words of the training captions are unknown: add captions" in limited
    new_words = [["something else entirely, word1"]] * 50
    [found] = check(caption_set(train=varied(100), dev=new_words))
    assert "75.0 % of the words of the validation captions are unknown: add captions" in found


def test_scripts_without_spaces_need_another_tokenizer(caption_set: CaptionSet) -> None:
    chinese = [[f"一只棕色的狗在草地上奔跑{character}"] for character in "一二三四五六七八九十"]
    prepared = caption_set(train=chinese, dev=varied(50))
    [found] = check(prepared)
    assert found.startswith("10 of 10 training captions have no spaces between words")
    assert not any("no spaces" in text for text in check(prepared, "tokenizer.kind=characters"))


def test_a_tiny_validation_split_is_warned_of_unless_the_loss_decides(caption_set: CaptionSet) -> None:
    prepared = caption_set(train=varied(100), dev=varied(1))
    [found] = check(prepared)
    assert found.startswith("dev has 1 image, and CIDEr-D")
    assert check(prepared, "validation.metric=loss") == []


@pytest.mark.thorough
def test_warnings_are_printed_and_logged_when_a_run_starts(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path, capsys: Any
) -> None:
    train(toy_recipe, data=toy_set.directory, out=tmp_path / "run")
    expected = "warning: dev has 8 images, and CIDEr-D"
    assert expected in capsys.readouterr().err
    assert expected in (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
    train(toy_recipe, data=toy_set.directory, out=tmp_path / "run")
    assert "warning: " not in capsys.readouterr().err


def test_a_caption_of_more_than_half_of_the_images_is_warned_of() -> None:
    assert repetition_warning(["a", "a", "b", "c"]) is repetition_warning(["a"]) is None
    assert "2 of 3 validation images have the same caption, 'a'" in str(repetition_warning(["a", "b", "a"]))
