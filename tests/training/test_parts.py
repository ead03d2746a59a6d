"""What a recipe becomes before training: which pictures, which vocabulary, whose features."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from showtell.data.prepared import PreparedSet
from showtell.recipes.schema import Recipe, parse_recipe
from showtell.training.loop import train
from showtell.training.parts import Parts, build_encoder_of, build_parts, compute_of


def changed(recipe: Recipe, **sections: dict[str, object]) -> Recipe:
    values = recipe.model_dump(mode="json")
    for name, keys in sections.items():
        values[name] |= keys
    return parse_recipe(values, "the changed recipe")


def parts_of(recipe: Recipe, prepared: PreparedSet, features: Path | None = None) -> Parts:
    compute = compute_of(recipe, "cpu")
    return build_parts(recipe, prepared, build_encoder_of(recipe, None, compute), compute, features)


@pytest.fixture(scope="module")
def encoder_weights(toy_set: PreparedSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small encoder, for runs that freeze it."""
    from showtell.images import Preprocessing
    from showtell.models.encoder import EncoderSpec, build_encoder, save_encoder

    spec = EncoderSpec(name="small", width=32, trainable=True, preprocessing=Preprocessing(size=32))
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_encoder(build_encoder(spec), path)
    return path


def test_a_subset_is_all_that_is_trained_on_and_judged(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = changed(toy_recipe, data={"subset": 6}, validation={"subset": 3})
    result = train(recipe, data=toy_set.directory, out=tmp_path / "run")
    assert len(result.judgement.rows) == 3
    assert set(result.judgement.rows) < set(toy_set.split_rows("dev").tolist())
    assert result.progress.step == 2 * 2  # epochs x batches of 4 and 2
    config = json.loads((tmp_path / "run" / "best" / "config.json").read_text(encoding="utf-8"))
    assert config["data"]["pictures"] == 6


def test_a_subset_keeps_the_vocabulary_of_the_whole_split_and_does_not_follow_the_rate(
    toy_set: PreparedSet, toy_recipe: Recipe
) -> None:
    whole = parts_of(toy_recipe, toy_set)
    slow, fast = (
        parts_of(changed(toy_recipe, data={"subset": 2}, optimizer={"lr": rate}), toy_set)
        for rate in (1e-4, 1e-1)
    )
    assert slow.tokenizer.sha256 == fast.tokenizer.sha256 == whole.tokenizer.sha256
    assert slow.batches.rows.tolist() == fast.batches.rows.tolist()
    other = parts_of(changed(toy_recipe, data={"subset": 2}, training={"seed": 1}), toy_set)
    assert other.batches.rows.tolist() != slow.batches.rows.tolist()


def test_features_of_a_subset_alone_are_extracted(
    toy_set: PreparedSet, toy_recipe: Recipe, encoder_weights: Path, tmp_path: Path
) -> None:
    weights = {"trainable": False, "weights": str(encoder_weights)}
    recipe = changed(toy_recipe, encoder=weights, data={"subset": 5, "flip": True}, validation={"subset": 3})
    parts = parts_of(recipe, toy_set, tmp_path / "features")
    done = {}
    for cache in (tmp_path / "features").iterdir():
        manifest = json.loads((cache / "manifest.json").read_text(encoding="utf-8"))
        bits = np.unpackbits(np.fromfile(cache / "done.bitmap", np.uint8), count=len(toy_set))
        done[manifest["encoder"]["preprocessing"]["mirror"]] = np.flatnonzero(bits).tolist()
    assert done[True] == parts.batches.rows.tolist()
    assert done[False] == sorted([*parts.batches.rows, *parts.judge.rows])
