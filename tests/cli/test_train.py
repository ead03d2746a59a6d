"""``showtell train``: training a captioner further."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from showtell.checkpoints.checkpoint import load_checkpoint
from showtell.cli.main import app
from showtell.config.recipe import load_recipe
from showtell.data.prepared import PreparedSet
from showtell.errors import CheckpointError, ConfigError
from showtell.training.warm_start import sections_of


def showtell(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in arguments], catch_exceptions=False)


@pytest.mark.thorough
def test_a_captioner_is_trained_further_by_one_option(
    tiny_checkpoint: Callable[[str], Path],
    toy_set: PreparedSet,
    ready_encoder_graph: Path,
    tmp_path: Path,
) -> None:
    start, run = tiny_checkpoint("attention"), tmp_path / "run"
    options = ["--set", "objective.0.epochs=1", "--set", "training.threads=1"]
    shown = showtell("train", "--from", start, "--data", toy_set.directory, "-o", run, *options)
    assert shown.exit_code == 0, shown.output
    old, new = load_checkpoint(start), load_checkpoint(run)
    assert new.tokenizer.tokens[: old.tokenizer.size] == old.tokenizer.tokens
    assert new.tokenizer.size > old.tokenizer.size
    assert new.generation == old.generation
    seen, expected = (checkpoint.config["encoder"]["spec"] for checkpoint in (new, old))
    assert seen == {**expected, "trainable": False, "weights": str(start / "encoder.safetensors")}
    recipe = new.config["recipe"]
    assert (recipe["optimizer"]["lr"], recipe["training"]["init_from"]) == (5e-5, str(start))
    image = next(Path(toy_set.image_path(row)) for row in toy_set.split_rows("dev"))
    assert showtell("caption", run, image).exit_code == 0
    assert showtell("export", run, "-o", tmp_path / "onnx", "--data", toy_set.directory).exit_code == 0
    assert showtell("bundle", run, "-o", tmp_path / "bundle").exit_code == 0
    again = showtell("train", "--from", start, "--data", toy_set.directory, "-o", run, *options)
    assert (again.exit_code, again.stdout) == (0, shown.stdout)


def test_a_missing_recipe_and_a_missing_captioner_are_named(toy_set: PreparedSet, tmp_path: Path) -> None:
    place = ["--data", toy_set.directory, "-o", tmp_path / "run"]
    with pytest.raises(ConfigError, match=r"no recipe is named.*--from"):
        showtell("train", *place)
    with pytest.raises(CheckpointError, match="nowhere is not a checkpoint"):
        showtell("train", "--from", "nowhere", *place)


def test_an_export_and_sections_without_keys_are_refused_and_empty_ones_are_not(
    tiny_checkpoint: Callable[[str], Path], toy_set: PreparedSet, tmp_path: Path
) -> None:
    start, place = tiny_checkpoint("attention"), ["--data", toy_set.directory, "-o", tmp_path / "run"]
    export = tmp_path / "export"
    export.mkdir()
    (export / "config.json").write_text('{"kind": "showtell export", "format": 3}', encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"an ONNX export.*Name the checkpoint that it was exported"):
        showtell("train", "--from", export, *place)
    recipe = tmp_path / "own.yaml"
    recipe.write_text("training:\ndata: [1]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"own\.yaml cannot be used: found data: list"):
        showtell("train", recipe, "--from", start, "--rehearse", toy_set.directory, *place)
    recipe.write_text("training:\ndata:\n", encoding="utf-8")
    sections = {"training": {"seed": 3}, "data": {"subset": 2}}
    assert load_recipe(recipe, sections=sections).data.subset == 2


def test_a_captioner_is_found_on_the_hub(
    tiny_checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = tiny_checkpoint("attention")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda repository, **_: str(start))
    assert sections_of(Path("someone/captioner")) == sections_of(start)
