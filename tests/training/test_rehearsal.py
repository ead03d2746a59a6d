"""Batches of an earlier set come between those of the new one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from showtell.checkpoints.hub import DECODER
from showtell.config.preprocessing import Preprocessing
from showtell.config.recipe import Recipe, parse_recipe
from showtell.data.batches import Batch, Batches, BatchOptions
from showtell.data.prepared import PreparedSet
from showtell.data.views import ImageSource
from showtell.errors import ConfigError
from showtell.tokenizer import Tokenizer
from showtell.training.rehearsal import RehearsedBatches
from showtell.training.trainer import train

MakeSet = Callable[..., PreparedSet]


def batches_of(prepared: PreparedSet) -> Batches:
    tokenizer = Tokenizer.fit(["old new"], min_count=1)
    source = ImageSource(prepared, Preprocessing(size=32))
    return Batches(prepared, prepared.split_rows("train"), tokenizer, source, BatchOptions(2, 1, 9, False, 0))


def words(batches: Iterator[Batch]) -> list[tuple[int, list[int]]]:
    """Return the first word's id and the rows of each batch."""
    return [(int(batch.tokens[0, 0, 1]), batch.rows.tolist()) for batch in batches]


def test_batches_alternate_and_an_epoch_has_each_new_image_once(make_set: MakeSet) -> None:
    new = make_set("new", train=[["new"]] * 5, dev=[["new"]])
    old = make_set("old", train=[["old"]] * 4, dev=[["old"]])
    both = RehearsedBatches(batches_of(new), batches_of(old))
    first, second = (words(both.epoch(epoch)) for epoch in range(2))
    ids = {word: batches_of(new).tokenizer.encode(word)[0] for word in ("new", "old")}
    assert len(both) == 6
    assert [word for word, _ in first] == [ids["new"], ids["old"]] * 3
    assert sorted(row for word, rows in first if word == ids["new"] for row in rows) == list(range(5))
    # Two batches are an epoch of the old set: its images come equally often.
    seen = [row for word, rows in first + second if word == ids["old"] for row in rows]
    assert np.bincount(seen).tolist() == [3, 3, 3, 3]
    for start in range(7):
        assert words(both.epoch(1, start=start)) == second[start:]


@pytest.mark.thorough
def test_a_rehearsed_training_resumes_with_the_same_bits_and_refuses_another_old_set(
    toy_set: PreparedSet,
    toy_recipe: Recipe,
    make_set: MakeSet,
    encoder_weights: Path,
    cut_before: Callable[[int], AbstractContextManager[None]],
    tmp_path: Path,
) -> None:
    def rehearsing(prepared: PreparedSet) -> Recipe:
        values = toy_recipe.model_dump(mode="json")
        values["encoder"]["trainable"] = False
        values["training"]["save_steps"] = 1
        values["data"]["rehearse"] = str(prepared.directory)
        return parse_recipe(values, "a recipe that rehearses")

    old = make_set("old", train=[["an old red picture"]] * 6, dev=[["an old red picture"]])
    options: Any = {"data": toy_set.directory, "encoder_weights": encoder_weights}
    whole = train(rehearsing(old), out=tmp_path / "whole", **options)
    assert whole.progress.step == 2 * 2 * 4  # epochs x both sets x batches of 4 of 16 images
    with cut_before(11):
        train(rehearsing(old), out=tmp_path / "cut", **options)
    moved = old.directory.rename(tmp_path / "moved")
    train(rehearsing(PreparedSet.load(moved)), out=tmp_path / "cut", **options)
    first, second = (load_file(tmp_path / run / "last" / DECODER) for run in ("whole", "cut"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = make_set("other", train=[["another one"]] * 6, dev=[["another one"]])
    with pytest.raises(ConfigError, match=r"rehearsed.fingerprint"):
        train(rehearsing(other), out=tmp_path / "cut", **options)


def test_features_of_the_old_set_follow_the_folder_that_is_named_and_only_used_ones_are_made(
    toy_set: PreparedSet, toy_recipe: Recipe, make_set: MakeSet, encoder_weights: Path, tmp_path: Path
) -> None:
    old = make_set("old", train=[["an old red picture"]] * 3, dev=[["an old red picture"]])
    values = toy_recipe.model_dump(mode="json")
    values["encoder"]["trainable"] = False
    values["objective"][0]["epochs"] = 1
    values["data"]["rehearse"] = str(old.directory)
    for augment in (None, {"mode": "random_crop"}):
        values["data"]["augment"] = augment
        place = tmp_path / f"augmented-{augment is not None}"
        train(
            parse_recipe(values, "a recipe"),
            data=toy_set.directory,
            out=place / "run",
            encoder_weights=encoder_weights,
            features=place / "features",
        )
        folders = [path.name for path in (place / "features").iterdir()]
        assert (f"rehearsed-{old.fingerprint[:8]}" in folders) == (augment is None)
        assert not (tmp_path / "old-features").exists()


def test_rewards_of_another_set_are_refused() -> None:
    values = {"data": {"rehearse": "old"}, "objective": [{"name": "self-critical"}]}
    with pytest.raises(ConfigError, match=r"data\.rehearse"):
        parse_recipe(values, "a recipe")
