"""What a recipe becomes before training: which pictures, which vocabulary, whose features."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from showtell.checkpoints.checkpoint import load_checkpoint
from showtell.config.recipe import Recipe, parse_recipe
from showtell.data.batches import Batch
from showtell.data.prepared import PreparedSet, prepare
from showtell.data.views import ImageSource
from showtell.encoders.encoder import Encoder
from showtell.encoders.features import Features
from showtell.errors import ConfigError, DataError
from showtell.training.build import Components, build_components
from showtell.training.device import resolve_device_config
from showtell.training.distributed import DistributedContext
from showtell.training.evaluate import evaluate_checkpoint
from showtell.training.feature_sources import open_feature_source
from showtell.training.setup import build_recipe_encoder, set_up_training
from showtell.training.trainer import train


def changed(recipe: Recipe, **sections: dict[str, object]) -> Recipe:
    values = recipe.model_dump(mode="json")
    for name, keys in sections.items():
        values[name] |= keys
    return parse_recipe(values, "the changed recipe")


def parts_of(recipe: Recipe, prepared: PreparedSet, features: Path | None = None) -> Components:
    compute = resolve_device_config("cpu", recipe.training.precision)
    setup = set_up_training(recipe, data=prepared.directory, out=Path("nothing"), compute=compute)
    return build_components(setup, compute, features, DistributedContext())


@pytest.mark.thorough
def test_a_subset_is_all_that_is_trained_on_and_judged(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = changed(toy_recipe, data={"subset": 6}, validation={"subset": 3})
    result = train(recipe, data=toy_set.directory, out=tmp_path / "run")
    assert len(result.evaluation.rows) == 3
    assert set(result.evaluation.rows) < set(toy_set.split_rows("dev").tolist())
    assert result.progress.step == 2 * 2  # epochs x batches of 4 and 2
    config = json.loads((tmp_path / "run" / "best" / "config.json").read_text(encoding="utf-8"))
    assert config["data"]["pictures"] == 6


def test_a_training_subset_alone_is_noted_with_the_images_to_encode(
    toy_set: PreparedSet, toy_recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    dev = len(toy_set.split_rows("dev"))
    parts_of(changed(toy_recipe, data={"subset": 2}), toy_set)
    expected = f"{2 + dev} images to encode: 2 for training (data.subset) and {dev} for validation, which"
    assert f"{expected} validation.subset reduces\n" in capsys.readouterr().err
    parts_of(changed(toy_recipe, data={"subset": 2}, validation={"subset": 1}), toy_set)
    assert "to encode" not in capsys.readouterr().err


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
    assert done[False] == sorted([*parts.batches.rows, *parts.evaluator.rows])


@pytest.mark.parametrize("augment", [None, {"mode": "corner_crops", "crop": 0.8}])
def test_training_sees_an_image_or_its_flip_and_validation_the_average_of_both(
    toy_set: PreparedSet, toy_recipe: Recipe, encoder_weights: Path, tmp_path: Path, augment: Any
) -> None:
    weights = {"trainable": False, "weights": str(encoder_weights), "flip_average": True}
    data = {"subset": 5, "flip": True, "augment": augment}
    recipe = changed(toy_recipe, encoder=weights, data=data)
    parts = parts_of(recipe, toy_set, tmp_path / "features")
    single = parts_of(changed(recipe, encoder={"flip_average": False}), toy_set, tmp_path / "single")
    mirrored = np.array([True, False, True])
    rows = parts.batches.rows[:3]
    for name in ("regions", "pooled"):
        ours, theirs = (getattr(each.batches.source.load(rows, mirrored), name) for each in (parts, single))
        assert torch.equal(ours, theirs)
    rows = parts.evaluator.rows[:3]
    live = ImageSource(toy_set, parts.encoder.preprocessing).load(rows, np.zeros(3, bool))
    assert torch.equal(
        parts.evaluator.source.load(rows, np.zeros(3, bool)).pooled.float(), parts.encoder(live).pooled
    )
    assert not torch.equal(parts.encoder(live).pooled, single.encoder(live).pooled)


PLAIN = {"name": "lstm", "embedding": 16, "hidden": 16, "image_head": "batch-norm"}
"""The plain LSTM whose last layer of the encoder is a new one."""


@pytest.fixture
def live_recipe(toy_recipe: Recipe, encoder_weights: Path) -> Recipe:
    """A frozen encoder that sees random windows, half of them mirrored, and an LSTM with batch norm."""
    values = toy_recipe.model_dump(mode="json")
    values["encoder"] |= {"trainable": False, "weights": str(encoder_weights)}
    values["encoder"]["preprocessing"] |= {"resize": "crop", "crop": 0.875}
    values["data"] |= {"augment": {"crop": 0.875}, "flip": True}
    values["decoder"] = PLAIN
    values["training"] |= {"save_steps": 1}
    return parse_recipe(values, "the live recipe")


def state_of(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "last" / "trainer.safetensors")


@pytest.mark.thorough
@pytest.mark.parametrize("stop", [3, 5])
def test_live_views_and_batch_norm_go_on_with_the_same_bits(
    toy_set: PreparedSet,
    live_recipe: Recipe,
    tmp_path: Path,
    cut_before: Callable[[int], AbstractContextManager[None]],
    stop: int,
) -> None:
    where = {"data": toy_set.directory, "features": tmp_path / "features"}
    train(live_recipe, out=tmp_path / "whole", **where)
    with cut_before(stop):
        train(live_recipe, out=tmp_path / "cut", **where)
    train(live_recipe, out=tmp_path / "cut", **where)
    whole, cut = state_of(tmp_path / "whole"), state_of(tmp_path / "cut")
    assert whole.keys() == cut.keys()
    assert [name for name in whole if not torch.equal(whole[name], cut[name])] == []
    for name in ("model.decoder.image_norm.norm.running_mean", "ema.decoder.image_norm.norm.running_var"):
        assert name in whole
    assert not [name for name in whole if ".encoder." in name]


def test_a_checkpoint_holds_the_statistics_that_fit_its_weights(
    toy_set: PreparedSet, live_recipe: Recipe, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    values = live_recipe.model_dump(mode="json")
    values["objective"][0]["epochs"] = 1
    train(parse_recipe(values, "recipe"), data=toy_set.directory, out=run, features=tmp_path / "features")
    state = state_of(run)
    last = load_checkpoint(run / "last").model.decoder.state_dict()
    for name in (
        "image_norm.norm.running_mean",
        "image_norm.norm.running_var",
        "image_norm.norm.weight",
        "image_proj.weight",
    ):
        assert torch.equal(last[name], state[f"ema.decoder.{name}"])
        assert not torch.equal(last[name], state[f"model.decoder.{name}"])
    best = load_checkpoint(run / "best").model.decoder.state_dict()
    assert all(torch.equal(value, best[name]) for name, value in last.items())


def test_live_views_differ_and_what_is_judged_is_kept(
    toy_set: PreparedSet, live_recipe: Recipe, tmp_path: Path
) -> None:
    parts = parts_of(live_recipe, toy_set, tmp_path / "features")
    shown = [
        {
            int(row): picture
            for batch in parts.batches.epoch(epoch)
            for row, picture in zip(batch.rows, batch.inputs, strict=True)
        }
        for epoch in (0, 1, 0)
    ]
    assert all(torch.equal(picture, shown[2][row]) for row, picture in shown[0].items())
    assert not any(torch.equal(picture, shown[1][row]) for row, picture in shown[0].items())
    [cache] = (tmp_path / "features").iterdir()
    done = np.unpackbits(np.fromfile(cache / "done.bitmap", np.uint8), count=len(toy_set))
    assert np.flatnonzero(done).tolist() == toy_set.split_rows("dev").tolist()


def test_a_frozen_encoder_sees_the_same_live_whatever_the_precision_of_training(
    toy_set: PreparedSet, live_recipe: Recipe, tmp_path: Path
) -> None:
    parts = parts_of(live_recipe, toy_set, tmp_path / "features")
    before = {name: value.clone() for name, value in parts.encoder.state_dict().items()}
    parts.model.train()
    batch = next(parts.batches.epoch(0))
    exact = parts.model.encode(batch.inputs)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = parts.model.encode(batch.inputs)
    assert torch.equal(exact.regions, mixed.regions)
    assert not exact.regions.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in parts.encoder.state_dict().items())


def test_all_references_count_in_the_loss_that_is_judged_however_few_are_shown(
    toy_set: PreparedSet, toy_recipe: Recipe
) -> None:
    parts = parts_of(changed(toy_recipe, data={"captions_per_image": 1}), toy_set)
    assert {batch.tokens.shape[1] for batch in parts.batches.epoch(0)} == {1}
    assert {batch.tokens.shape[1] for batch in parts.dev.sequential()} == {2}


def test_the_layout_is_asked_where_no_cache_asks_it(
    toy_recipe: Recipe, toy_set: PreparedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = build_recipe_encoder(toy_recipe, resolve_device_config("cpu", toy_recipe.training.precision))
    assert encoder.spec.trainable
    asked: list[torch.Size] = []
    monkeypatch.setattr(Encoder, "verify_stride_layout", lambda self, pictures: asked.append(pictures.shape))
    monkeypatch.setattr(Encoder, "has_stride_variants", True)
    open_feature_source(toy_set, encoder, None, rows=toy_set.split_rows("train"))
    assert asked == [(16, 32, 32, 3)]


def test_a_decoder_that_reads_no_regions_keeps_none_but_takes_them_where_they_are(
    toy_set: PreparedSet, toy_recipe: Recipe, encoder_weights: Path, tmp_path: Path
) -> None:
    values = toy_recipe.model_dump(mode="json")
    values["encoder"] |= {"trainable": False, "weights": str(encoder_weights)}
    looking = parse_recipe(values, "recipe")
    plain = parse_recipe(values | {"decoder": PLAIN}, "recipe")

    def first_pooled(recipe: Recipe, features: Path) -> torch.Tensor:
        batch = next(parts_of(recipe, toy_set, features).batches.sequential())
        assert isinstance(batch.inputs, Features)
        return batch.inputs.pooled

    alone = first_pooled(plain, tmp_path / "alone")
    [cache] = (tmp_path / "alone").iterdir()
    assert cache.name.endswith("-pooled")
    assert (cache / "regions.f16").stat().st_size == 0
    whole = first_pooled(looking, tmp_path / "both")
    assert torch.equal(first_pooled(plain, tmp_path / "both"), whole)
    assert torch.equal(alone, whole)
    assert len(list((tmp_path / "both").iterdir())) == 1
    # A decoder that reads regions does not take the smaller cache for its own.
    assert torch.equal(first_pooled(looking, tmp_path / "alone"), whole)
    assert len(list((tmp_path / "alone").iterdir())) == 2


@pytest.mark.thorough
def test_a_plain_run_trains_and_is_evaluated_on_pooled_vectors_alone(
    toy_set: PreparedSet, toy_recipe: Recipe, encoder_weights: Path, tmp_path: Path
) -> None:
    values = toy_recipe.model_dump(mode="json") | {"decoder": PLAIN}
    values["encoder"] |= {"trainable": False, "weights": str(encoder_weights)}
    recipe, features = parse_recipe(values, "recipe"), tmp_path / "features"
    told = train(recipe, data=toy_set.directory, out=tmp_path / "run", features=features).evaluation.texts
    again = evaluate_checkpoint(tmp_path / "run", data=toy_set.directory, features=features)
    assert again.texts == told
    assert [path.name.endswith("-pooled") for path in features.iterdir()] == [True]


def test_corners_are_kept_and_trained_on_but_never_judged(
    toy_set: PreparedSet, toy_recipe: Recipe, encoder_weights: Path, tmp_path: Path
) -> None:
    values = toy_recipe.model_dump(mode="json")
    values["encoder"] |= {"trainable": False, "weights": str(encoder_weights)}
    values["data"] |= {"flip": True, "augment": {"mode": "corner_crops", "crop": 0.75}}
    cornered = parts_of(parse_recipe(values, "recipe"), toy_set, tmp_path)
    assert len(list(tmp_path.iterdir())) == 10
    values["data"]["augment"] = None
    whole = parts_of(parse_recipe(values, "recipe"), toy_set, tmp_path)
    assert len(list(tmp_path.iterdir())) == 10

    def regions(batches: Iterable[Batch]) -> torch.Tensor:
        return torch.cat([batch.inputs.regions for batch in batches if isinstance(batch.inputs, Features)])

    assert torch.equal(regions(cornered.dev.sequential()), regions(whole.dev.sequential()))
    differing = (regions(cornered.batches.epoch(0)) != regions(whole.batches.epoch(0))).flatten(1).any(dim=1)
    assert 0 < differing.sum() < len(differing)
    assert torch.equal(regions(cornered.batches.epoch(0)), regions(cornered.batches.epoch(0)))


@pytest.mark.parametrize("views", ["corner_crops", "feature_windows"])
def test_kept_views_of_an_encoder_that_is_trained_along_are_refused(toy_recipe: Recipe, views: str) -> None:
    values = toy_recipe.model_dump(mode="json")
    values["data"]["augment"] = {"mode": views}
    with pytest.raises(ConfigError, match=rf"data\.augment\.mode={views} caches features.*random_crop"):
        parse_recipe(values, "recipe")


@pytest.mark.thorough
def test_windows_of_kept_maps_are_trained_on_but_never_judged(
    toy_set: PreparedSet, toy_recipe: Recipe, encoder_weights: Path, tmp_path: Path
) -> None:
    values = toy_recipe.model_dump(mode="json")
    values["encoder"] |= {"trainable": False, "weights": str(encoder_weights)}
    values["data"] |= {"flip": True, "augment": {"mode": "feature_windows", "crop": 0.5}}
    recipe = parse_recipe(values, "recipe")
    windowed = parts_of(recipe, toy_set, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2  # whole views and mirrored ones, looked at once
    values["data"]["augment"] = None
    whole = parts_of(parse_recipe(values, "recipe"), toy_set, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2

    def regions(parts: Components) -> torch.Tensor:
        return torch.cat([parts.model.encode(batch.inputs).regions for batch in parts.batches.epoch(0)])

    judged = zip(windowed.dev.sequential(), whole.dev.sequential(), strict=True)
    for one, other in judged:
        assert isinstance(one.inputs, Features)
        assert isinstance(other.inputs, Features)
        assert torch.equal(one.inputs.regions, other.inputs.regions)
    same = torch.isclose(regions(windowed), regions(whole), atol=1e-3).flatten(1).all(dim=1)
    assert 0 < same.sum() < len(same)  # a quarter of the windows are the whole view
    assert torch.equal(regions(windowed), regions(windowed))
    result = train(recipe, data=toy_set.directory, out=tmp_path / "run", features=tmp_path)
    assert result.progress.step == 2 * len(windowed.batches)


def test_a_window_of_the_encoders_own_is_what_is_kept(
    toy_set: PreparedSet, toy_recipe: Recipe, encoder_weights: Path, tmp_path: Path
) -> None:
    values = toy_recipe.model_dump(mode="json")
    values["encoder"] |= {"trainable": False, "weights": str(encoder_weights)}
    values["encoder"]["preprocessing"] |= {"corner": {"down": 1, "right": 0, "fraction": 0.5}}
    parts_of(parse_recipe(values, "recipe"), toy_set, tmp_path)
    [kept] = tmp_path.iterdir()
    manifest = json.loads((kept / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["encoder"]["preprocessing"]["corner"] == {"down": 1, "right": 0, "fraction": 0.5}


def test_a_region_cache_of_one_view_and_a_pooled_cache_of_the_other_are_read_together(
    toy_set: PreparedSet, toy_recipe: Recipe, encoder_weights: Path, tmp_path: Path
) -> None:
    """An LSTM with flips once failed where another decoder had made the upright cache."""
    frozen = {"trainable": False, "weights": str(encoder_weights)}
    parts_of(changed(toy_recipe, encoder=frozen), toy_set, tmp_path)
    values = changed(toy_recipe, encoder=frozen, data={"flip": True}).model_dump(mode="json")
    batches = parts_of(parse_recipe(values | {"decoder": PLAIN}, "recipe"), toy_set, tmp_path).batches
    assert sorted(path.name.endswith("-pooled") for path in tmp_path.iterdir()) == [False, True]
    for batch in batches.epoch(0):
        assert isinstance(batch.inputs, Features)
        assert batch.inputs.regions.shape[1] == 0
        assert batch.inputs.pooled.any()


@pytest.mark.parametrize("kind", ["trainable", "random_crop", "cached"])
def test_no_training_on_images_that_were_edited_after_prepare(
    toy_set: PreparedSet, toy_recipe: Recipe, encoder_weights: Path, tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(toy_set.directory.parent, folder)
    prepared = prepare(folder / "captions.jsonl", tmp_path / "set")
    encoder = {} if kind == "trainable" else {"trainable": False, "weights": str(encoder_weights)}
    augment = {"augment": {"mode": "random_crop"}} if kind == "random_crop" else {}
    recipe = changed(toy_recipe, encoder=encoder, data=augment)
    parts_of(recipe, prepared, tmp_path / "features")
    shutil.copyfile(folder / "3.png", folder / "0.png")
    with pytest.raises(DataError, match=r"^1 image has changed since .*set was prepared: found 0\.png\. Run"):
        parts_of(recipe, PreparedSet.load(prepared.directory), tmp_path / "features")
