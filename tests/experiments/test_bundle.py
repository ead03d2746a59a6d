"""Bundles: small, complete, usable anywhere, with a model card."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from showtell.checkpoints.checkpoint import load_checkpoint, save_portable
from showtell.checkpoints.config import read_config
from showtell.config.recipe import load_recipe, parse_recipe
from showtell.data.prepared import PreparedSet
from showtell.errors import CheckpointError, ConfigError
from showtell.experiments.bundle import make_bundle, training_command
from showtell.inference.captioner import Captioner
from showtell.training.evaluate import evaluate_checkpoint

ROOT = Path(__file__).resolve().parents[2]
PICTURES = [np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8) for seed in range(8)]


@pytest.fixture
def packed(frozen_captioner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_bundle(
        frozen_captioner.directory,
        Path("models/toy"),
        encoder=Path("models/eyes.safetensors"),
        recipe="flickr8k-attention",
        card={"notes": ["Its photographs were drawn."], "license": "mit"},
    )
    return tmp_path / "models" / "toy"


def test_a_packed_captioner_holds_half_floats_and_no_training(packed: Path) -> None:
    assert sorted(path.name for path in packed.iterdir()) == [
        "README.md",
        "config.json",
        "decoder.safetensors",
        "tokenizer.json",
    ]
    tensors = load_file(packed / "decoder.safetensors")
    assert {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()} == {torch.float16}


def test_it_says_what_its_run_says(packed: Path, frozen_captioner: Any) -> None:
    before = Captioner.load(frozen_captioner.directory, device="cpu").caption(PICTURES)
    after = Captioner.load(packed, device="cpu").caption(PICTURES)
    assert [caption.text for caption in after] == [caption.text for caption in before]
    assert [caption.score for caption in after] == pytest.approx(
        [caption.score for caption in before], abs=0.02
    )
    assert [caption.score for caption in after] != [caption.score for caption in before]


def test_its_numbers_are_those_of_the_run_rounded_once(packed: Path, frozen_captioner: Any) -> None:
    exact = load_checkpoint(frozen_captioner.directory).model.decoder.state_dict()
    for name, tensor in load_checkpoint(packed).model.decoder.state_dict().items():
        assert tensor.dtype == exact[name].dtype
        assert torch.equal(tensor, exact[name].half().to(tensor.dtype))


def test_the_written_files_are_told(frozen_captioner: Any, tmp_path: Path) -> None:
    told = make_bundle(frozen_captioner.directory, tmp_path / "toy")
    assert set(told) == set((tmp_path / "toy").iterdir())
    assert tmp_path / "toy" / "encoder.safetensors" in told


def test_packing_over_its_own_output_replaces_it(packed: Path, frozen_captioner: Any) -> None:
    shared = packed.parent / "eyes.safetensors"
    before = shared.stat().st_ino
    make_bundle(frozen_captioner.directory, packed, encoder=shared)
    assert read_config(packed)[1]["card"] == {}
    assert shared.stat().st_ino == before
    make_bundle(packed, packed, encoder=shared)
    assert Captioner.load(packed, device="cpu").caption(PICTURES[0]).text


@pytest.mark.parametrize("name", ["notes.txt", "README.md", "decoder.safetensors"])
def test_anything_else_in_its_place_is_refused(frozen_captioner: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / name).write_text("mine", encoding="utf-8")
    with pytest.raises(
        CheckpointError, match=rf"cannot save a captioner in .*toy: found other files \({name}\)"
    ):
        make_bundle(frozen_captioner.directory, tmp_path / "toy", encoder=tmp_path / "eyes.safetensors")
    assert (tmp_path / "toy" / name).read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / "eyes.safetensors").exists()


def test_a_file_in_its_place_is_refused(frozen_captioner: Any, tmp_path: Path) -> None:
    (tmp_path / "toy").write_text("mine", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"cannot save a captioner in .*toy: found a file"):
        make_bundle(frozen_captioner.directory, tmp_path / "toy")
    assert (tmp_path / "toy").read_text(encoding="utf-8") == "mine"


def test_the_card_says_how_to_use_it_what_it_lost_and_what_it_cannot(packed: Path) -> None:
    card = (packed / "README.md").read_text(encoding="utf-8")
    for text in (
        "# toy\n",
        "license: mit",
        "showtell caption models/toy photo.jpg",
        "`../eyes.safetensors`, shared with the captioners beside this one",
        "drawn at random, MIT",
        "stored as float16 and computed in float32",
        "Measured in float32, before conversion to float16.",
        "Signature: `showtell:0|refs:2`",
        "mostly photographs of people and dogs",
        "resized to 32x32 pixels: small details are lost.",
        "- Its photographs were drawn.",
        "gender, age, skin color",
        "Not for decisions about safety",
        "## Reproduce",
        "showtell train flickr8k-attention --data data/toy -o runs/toy --set ",
    ):
        assert text in card, text


def test_a_card_away_from_here_names_no_folder_of_this_machine(frozen_captioner: Any, tmp_path: Path) -> None:
    make_bundle(frozen_captioner.directory, tmp_path / "toy")
    assert "showtell caption toy photo.jpg" in (tmp_path / "toy" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("recipe", ["flickr8k-attention", "flickr8k-stacked-attention", "coco-show-and-tell"])
def test_the_command_trains_by_the_very_recipe(frozen_captioner: Any, recipe: str) -> None:
    config = read_config(frozen_captioner.directory)[1]
    words = shlex.split(training_command(config, recipe, "new"))
    assert words[:7] == ["showtell", "train", recipe, "--data", "data/toy", "-o", "runs/new"]
    assert set(words[7::2]) == {"--set"}
    again = load_recipe(recipe, words[8::2]).model_dump(mode="json")
    trained = parse_recipe(config["recipe"], "the recipe").model_dump(mode="json")
    assert again["encoder"].pop("weights") is None
    assert trained["encoder"].pop("weights") is not None
    for name in ("threads", "trackers", "adapt"):
        del again["training"][name], trained["training"][name]
    assert frozen_captioner.weights.name not in " ".join(words)
    assert again == trained


def test_what_was_trained_by_a_shipped_recipe_needs_its_name_alone() -> None:
    recipe = load_recipe("flickr8k-attention").model_dump(mode="json")
    recipe["encoder"]["weights"] = "/somewhere/weights.safetensors"
    recipe["training"]["trackers"] = ["tensorboard"]
    config = {"recipe": recipe, "data": {"name": "flickr8k"}}
    assert (
        training_command(config, "flickr8k-attention", "best")
        == "showtell train flickr8k-attention --data data/flickr8k -o runs/best"
    )


def test_phases_of_the_captioner_it_began_with_are_the_recipes() -> None:
    recipe = load_recipe("flickr8k-best-rl").model_dump(mode="json")
    began = {**recipe, "objective": recipe["objective"][1:]}
    began["training"] = recipe["training"] | {"init_from": "runs/flickr8k-best"}
    config = {"recipe": began, "data": {"name": "flickr8k"}}
    plain = "showtell train flickr8k-best-rl --data data/flickr8k -o runs/best"
    assert training_command(config, "flickr8k-best-rl", "best") == plain
    began["objective"] = [recipe["objective"][1] | {"lr": 1e-6}]
    assert "lr: 1.0e-06" in training_command(config, "flickr8k-best-rl", "best")


def test_a_command_that_cannot_be_known_is_refused(tiny_checkpoint: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not name its recipe.*Omit --recipe \(recipe=\)"):
        make_bundle(tiny_checkpoint("lstm"), tmp_path / "toy", recipe="demo")
    with pytest.raises(ConfigError, match="no recipe is named 'flickr8k-atention'"):
        training_command({"recipe": {}, "data": {"name": "toy"}}, "flickr8k-atention", "toy")
    assert not (tmp_path / "toy").exists()


def test_yaml_of_the_card_is_the_whole_recipe_without_folders(packed: Path, frozen_captioner: Any) -> None:
    block = (packed / "README.md").read_text(encoding="utf-8").rsplit("```yaml\n", maxsplit=1)[1]
    told = parse_recipe(yaml.safe_load(block.removesuffix("```\n")), "the card")
    assert told.encoder.weights == frozen_captioner.weights.name


def test_several_become_the_mean_of_their_weights_with_other_beams(
    packed: Path, frozen_captioner: Any, toy_set: PreparedSet
) -> None:
    shutil.copytree(packed, packed.with_name("other"))
    further = load_checkpoint(packed)
    with torch.no_grad():
        for weight in further.model.decoder.parameters():
            weight.mul_(1.5)
    save_portable(further, packed.with_name("other"), shared_encoder=packed.parent / "eyes.safetensors")
    soup = packed.with_name("soup")
    make_bundle(
        [packed, packed.with_name("other")],
        soup,
        weights=[1, 1],
        encoder=packed.parent / "eyes.safetensors",
        recipe="flickr8k-best-rl",
        generation={"beam_size": 2},
        data=toy_set.directory,
    )
    loaded = load_checkpoint(soup)
    assert loaded.generation.beam_size == 2
    for name, value in load_checkpoint(packed).model.decoder.state_dict().items():
        torch.testing.assert_close(
            loaded.model.decoder.state_dict()[name], 1.25 * value, rtol=1e-3, atol=1e-6
        )
    judged = evaluate_checkpoint(soup, data=toy_set.directory, split="dev").scores
    assert loaded.config["scores"] == {
        "values": judged.values,
        "signature": judged.signature,
        "split": "dev",
        "data": toy_set.directory.name,
    }
    card = (soup / "README.md").read_text(encoding="utf-8")
    assert "the average of 2 decoders, 0.5 of `" in card
    assert "Split `dev` of set, times 100." in card
    assert "Measured on these files" in card
    assert "showtell train flickr8k-best-rl --data data/toy -o runs/soup\n" in card


def test_scores_of_another_decoding_are_not_kept(packed: Path, frozen_captioner: Any) -> None:
    assert read_config(packed)[1]["scores"]
    shared = packed.parent / "eyes.safetensors"
    as_it_was = load_checkpoint(packed).generation.beam_size
    make_bundle(packed, packed, encoder=shared, generation={"beam_size": as_it_was})
    assert read_config(packed)[1]["scores"]
    make_bundle(packed, packed, encoder=shared, generation={"beam_size": as_it_was + 1})
    config = read_config(packed)[1]
    assert "scores" not in config
    assert config["generation"] == config["recipe"]["generation"]
    assert config["generation"]["beam_size"] == as_it_was + 1
    assert "## Scores" not in (packed / "README.md").read_text(encoding="utf-8")


def test_a_captioner_may_look_at_mirror_images_too_and_be_judged_so(
    packed: Path, toy_set: PreparedSet
) -> None:
    shared, twice = packed.parent / "eyes.safetensors", packed.with_name("twice")
    make_bundle(packed, twice, encoder=shared, recipe="demo", flip_average=True)
    config = read_config(twice)[1]
    assert "scores" not in config
    assert config["recipe"] == read_config(packed)[1]["recipe"]
    captioner = Captioner.load(twice, device="cpu")
    before = [caption.score for caption in Captioner.load(packed, device="cpu").caption(PICTURES)]
    assert [caption.score for caption in captioner.caption(PICTURES)] != pytest.approx(before, abs=1e-4)
    looking, picture = load_checkpoint(twice).model.encoder, torch.from_numpy(PICTURES[0][None, :32, :32])
    assert looking is not None
    assert torch.equal(looking(picture).pooled, looking(picture.flip(2)).pooled)
    assert "averaged over the image and its horizontal flip" in (twice / "README.md").read_text()
    make_bundle(twice, twice, encoder=shared, flip_average=True, data=toy_set.directory)
    judged = evaluate_checkpoint(twice, data=toy_set.directory, split="dev").scores
    assert read_config(twice)[1]["scores"]["values"] == judged.values


def test_weights_of_a_single_captioner_are_refused(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--weight cannot be used: found one captioner"):
        make_bundle(packed, tmp_path / "again", weights=[1.0])


@pytest.mark.slow
def test_a_real_captioner_says_nearly_always_the_same(shared_data: Path, tmp_path: Path) -> None:
    run, data = ROOT / "runs" / "attention", ROOT / "data" / "flickr8k"
    if not (run / "best").is_dir() or not data.is_dir():
        pytest.skip("no trained captioner in runs/attention, or no prepared set in data/flickr8k")
    weights = shutil.copy(shared_data / "weights" / "resnet50_imagenet.safetensors", tmp_path / "weights")
    told = make_bundle(
        run,
        tmp_path / "shop" / "packed",
        encoder=tmp_path / "shop" / "eyes.safetensors",
        encoder_weights=weights,
    )
    weights.unlink()
    decoder = run / "best" / "decoder.safetensors"
    assert sum(path.stat().st_size for path in told[:-1]) < 0.51 * decoder.stat().st_size
    prepared = PreparedSet.load(data)
    pictures = [prepared.image_path(int(row)) for row in prepared.split_rows("dev")[:200]]
    before, after = (
        [caption.text for caption in Captioner.load(place, device="cpu").caption(pictures)]
        for place in (run, told.directory)
    )
    assert sum(one == other for one, other in zip(before, after, strict=True)) >= 190
