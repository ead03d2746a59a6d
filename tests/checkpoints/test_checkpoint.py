"""Checkpoints: they change no caption, refuse every cut or foreign part, and hold no pickle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from pydantic import TypeAdapter

from showtell.checkpoints import config as checkpoint_config
from showtell.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from showtell.checkpoints.config import read_config
from showtell.config.decoders import DecoderSpec
from showtell.config.recipe import parse_recipe
from showtell.data.prepared import PreparedSet
from showtell.encoders.encoder import save_encoder
from showtell.errors import CheckpointError, DataError, EncoderError
from showtell.images.load import load_image
from showtell.images.preprocess import preprocess_image
from showtell.system import atomic as files
from showtell.system.atomic import atomic_directory, sha256_file, write_summed_json
from showtell.training.trainer import train


@pytest.fixture(scope="module")
def run(toy_set: PreparedSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = parse_recipe(
        {
            "tokenizer": {"min_count": 1},
            "encoder": {"name": "small", "width": 32, "trainable": True, "preprocessing": {"size": 32}},
            "decoder": {"name": "lstm", "embedding": 16, "hidden": 16},
            "objective": [{"name": "cross-entropy", "epochs": 1}],
            "training": {"batch_size": 8, "precision": "fp32", "threads": 1},
        },
        "the recipe",
    )
    out = tmp_path_factory.mktemp("checkpoint") / "run"
    train(recipe, data=toy_set.directory, out=out)
    return out


def test_a_run_means_its_best_checkpoint(run: Path) -> None:
    first, second = load_checkpoint(run), load_checkpoint(run / "best")
    assert first.config == second.config
    assert first.config["scores"]["signature"].startswith("showtell:")


def test_a_run_writes_its_model_card(run: Path) -> None:
    best = ModelCard.load(run / "best" / "README.md", ignore_metadata_errors=False)
    scores = load_checkpoint(run).config["scores"]["values"]
    found = {one.metric_name: one.metric_value for one in best.data.eval_results}
    assert found == pytest.approx({name: 100 * value for name, value in scores.items()}, abs=0.01)
    assert "set (format jsonl); 16 training images" in best.text
    last = ModelCard.load(run / "last" / "README.md", ignore_metadata_errors=False)
    assert last.data.eval_results is None
    assert "16 training images" in last.text


def test_two_loads_say_the_same(run: Path, toy_set: PreparedSet) -> None:
    logits = []
    for _ in range(2):
        loaded = load_checkpoint(run)
        assert loaded.model.encoder is not None
        picture = preprocess_image(load_image(toy_set.image_path(0)), loaded.model.encoder.preprocessing)
        with torch.inference_mode():
            pictures = torch.from_numpy(picture.copy()).unsqueeze(0)
            logits.append(loaded.model(pictures, torch.tensor([[[loaded.tokenizer.bos_id]]])))
    assert torch.equal(logits[0], logits[1])


@pytest.mark.parametrize("name", ["decoder.safetensors", "tokenizer.json", "encoder.safetensors"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.999])
def test_a_file_cut_at_any_byte_is_refused(run: Path, tmp_path: Path, name: str, keep: float) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run / "best", copy)
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: int(keep * len(content))])
    with pytest.raises(
        CheckpointError, match=rf"{name} is not the file that this checkpoint was saved with.*cut short"
    ):
        load_checkpoint(copy)


def test_a_missing_file_is_named(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run / "best", copy)
    (copy / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json.*no such file"):
        load_checkpoint(copy)


@pytest.mark.parametrize("cut", [0, 10, 200])
def test_a_cut_configuration_is_refused(run: Path, tmp_path: Path, cut: int) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run / "best", copy)
    config = copy / "config.json"
    config.write_text(config.read_text(encoding="utf-8")[:cut], encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"is not a checkpoint.*broken config\.json"):
        load_checkpoint(copy)


def test_a_tokenizer_of_another_vocabulary_is_refused(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run / "best", copy)
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    config["vocabulary"] += 1
    write_summed_json(copy / "config.json", config)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json does not fit the decoder: found \d+ tokens"):
        load_checkpoint(copy)


@pytest.mark.parametrize("found", [1, 99])
def test_another_format_is_refused(run: Path, tmp_path: Path, found: int) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run / "best", copy)
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    write_summed_json(copy / "config.json", config | {"format": found})
    with pytest.raises(CheckpointError, match=f"format {found}.*Train it again"):
        load_checkpoint(copy)


def test_a_place_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is not a checkpoint: found no config\.json"):
        load_checkpoint(tmp_path)


@pytest.fixture(scope="module")
def frozen(run: Path, toy_set: PreparedSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose encoder stays as it is, its weights in a file beside the run."""
    values = json.loads((run / "best" / "config.json").read_text(encoding="utf-8"))["recipe"]
    values["encoder"]["trainable"] = False
    place = tmp_path_factory.mktemp("frozen")
    weights = shutil.copy(run / "best" / "encoder.safetensors", place / "encoder.safetensors")
    train(
        parse_recipe(values, "r"),
        data=toy_set.directory,
        out=place / "run",
        encoder_weights=weights,
        features=place / "features",
    )
    return place / "run"


@pytest.fixture(scope="module")
def other_weights(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of another encoder of the same shape."""
    loaded = load_checkpoint(run).model.encoder
    assert loaded is not None
    with torch.no_grad():
        next(loaded.network.parameters()).add_(1)
    path = tmp_path_factory.mktemp("other") / "encoder.safetensors"
    loaded.weights = None
    save_encoder(loaded, path)
    return path


@pytest.mark.parametrize("carried", [False, True])
def test_foreign_encoder_weights_are_refused(
    frozen: Path, other_weights: Path, tmp_path: Path, carried: bool
) -> None:
    place, copy = frozen, tmp_path / "whole"
    loaded = load_checkpoint(frozen)
    assert loaded.model.encoder is not None
    if carried:
        copy.mkdir()
        save_checkpoint(
            copy,
            decoder=loaded.model.decoder.state_dict(),
            decoder_spec=TypeAdapter(DecoderSpec).validate_python(loaded.config["decoder"]),
            tokenizer=loaded.tokenizer,
            encoder=loaded.model.encoder,
            include_encoder=True,
            generation=loaded.generation,
            about={},
        )
        place = copy
    assert (place / "encoder.safetensors").exists() == carried
    own = frozen.parent / "encoder.safetensors"
    again = load_checkpoint(place, encoder_weights=own).model.encoder
    assert again is not None
    assert again.weights == own
    with pytest.raises(EncoderError, match="belongs to another encoder"):
        load_checkpoint(place, encoder_weights=other_weights)


def test_weights_for_an_encoder_that_was_trained_along_are_refused(run: Path, other_weights: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds its fine-tuned encoder.*Omit --encoder-weights"):
        load_checkpoint(run, encoder_weights=other_weights)


@pytest.mark.thorough
def test_encoder_weights_that_moved_are_asked_for(frozen: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    shutil.copytree(frozen / "best", place)
    config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    config["encoder"]["spec"]["weights"] = str(tmp_path / "gone.safetensors")
    write_summed_json(place / "config.json", config)
    with pytest.raises(EncoderError, match=r"no file .*gone\.safetensors\. .*--encoder-weights FILE"):
        load_checkpoint(place)
    assert load_checkpoint(place, encoder_weights=frozen.parent / "encoder.safetensors").model.encoder


@pytest.mark.parametrize("files", [None, [], {}, {"decoder.safetensors": "0"}])
def test_a_configuration_without_its_files_is_refused(run: Path, tmp_path: Path, files: object) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run / "best", copy)
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    write_summed_json(copy / "config.json", config | {"files": files})
    with pytest.raises(CheckpointError, match=r"without the list of files"):
        load_checkpoint(copy)


def test_a_killed_save_leaves_the_checkpoint_before_it(run: Path, tmp_path: Path) -> None:
    best = tmp_path / "run" / "best"
    shutil.copytree(run / "best", best)
    with pytest.raises(DataError, match="No space left"), atomic_directory(best) as directory:  # noqa: PT012
        (directory / "decoder.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")
    assert load_checkpoint(tmp_path / "run").config["kind"] == "showtell checkpoint"
    # Killed between the two renames: the old directory stands beside, and is read there.
    best.rename(best.with_name(".best.old"))
    assert load_checkpoint(tmp_path / "run").config["kind"] == "showtell checkpoint"


def test_reading_a_run_disturbs_no_writer(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy, rename, read = tmp_path / "run", Path.rename, []
    shutil.copytree(run, copy)
    monkeypatch.setattr(files, "SWAP_SECONDS", 0.0)

    def read_between(self: Path, target: Path) -> Path:
        if self.suffix == ".tmp":
            read.append(read_config(copy)[0].name)
            read.append(read_config(copy / "best")[0].name)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", read_between)
    with atomic_directory(copy / "best") as directory:
        shutil.copytree(run / "best", directory, dirs_exist_ok=True)
        assert read_config(copy)[0].name == "best"
        assert directory.is_dir()
    assert read == [".best.old", ".best.old"]
    assert read_config(copy)[0].name == "best"
    assert not list(copy.glob(".best*"))


def test_a_checkpoint_replaced_while_it_is_read_is_read_anew(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, swapped = tmp_path / "best", []
    shutil.copytree(run / "best", copy)
    (copy / "tokenizer.json").write_text("{}")

    def swap(path: Path) -> str:
        if not swapped:
            with atomic_directory(copy) as directory:
                shutil.copytree(run / "best", directory, dirs_exist_ok=True)
            swapped.append(path)
            return "the sum of a file that is gone"
        return sha256_file(path)

    monkeypatch.setattr(checkpoint_config, "sha256_file", swap)
    assert read_config(copy)[0] == copy
    assert swapped


@pytest.mark.thorough
def test_a_checkpoint_may_be_named_by_a_dot(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run / "best")
    assert load_checkpoint(Path()).config["kind"] == "showtell checkpoint"
