"""Every shipped recipe, end to end: the commands of its header, on its set as published, at toy size."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from pydantic import BaseModel
from typer.testing import CliRunner

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.checkpoints.checkpoint import load_checkpoint
from showtell.cli.demo import run_demo
from showtell.cli.main import app
from showtell.config.base import StrictModel
from showtell.config.preprocessing import Preprocessing
from showtell.config.recipe import Recipe, load_recipe, shipped_recipes
from showtell.data.prepared import prepare
from showtell.data.views import ImageSource
from showtell.encoders.encoder import EncoderSpec, build_encoder, save_encoder
from showtell.training.lr_schedule import ReduceOnPlateau
from showtell.training.tracking import read_metrics
from showtell.training.trainer import train

HEADER = ("Reproduces:", "Command:", "Hardware:", "Minutes:", "Score:")
NOT_MEASURED = "not measured: the set was not available."
SMALL = {
    "objective.0.epochs": 2,
    "encoder.width": 16,
    "encoder.preprocessing.size": 32,
    "decoder.embedding": 8,
    "decoder.hidden": 8,
    "decoder.attention": 8,
    "decoder.region_dim": 8,
    "training.batch_size": 4,
    "training.threads": 1,
    "validation.eval_batch_size": 8,
    "generation.max_tokens": 6,
}
# Those that train different parts; the others are trained by tests marked thorough.
QUICK = {"demo", "flickr8k", "flickr8k-best-rl", "flickr8k-two-encoders"}
SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")


def header_of(name: str) -> list[str]:
    lines = shipped_recipes()[name].read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("#").strip() for line in lines if line.startswith("#")]


def commands_of(name: str) -> list[list[str]]:
    found = [re.search(r"^(?:Command:\s+)?showtell (.+)$", line) for line in header_of(name)]
    return [shlex.split(match[1]) for match in found if match]


def small(recipe: Recipe) -> list[str]:
    """Return overrides that change sizes alone, of the keys that this recipe has."""
    sizes: dict[str, object] = dict(SMALL)
    if recipe.encoder.identity_fields:  # of a ResNet, which a small encoder stands for
        sizes |= {"encoder.out_stages": [4], "encoder.region_grid": "null"}
    sizes |= {f"objective.{number}.epochs": 2 for number in range(len(recipe.objective))}
    for key in ("attention", "region_dim"):
        if key not in type(recipe.decoder).model_fields:
            del sizes[f"decoder.{key}"]
    return [f"{key}={value}" for key, value in sizes.items()]


@pytest.fixture(scope="session")
def encoder_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that stand for those of the ResNet: of a small encoder, never trained."""
    spec = EncoderSpec(name="small", width=16, trainable=True, preprocessing=Preprocessing(size=32))
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_encoder(build_encoder(spec), path)
    return path


class Reads:
    """Notes which keys of which models are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: set[tuple[type, str]] = set()
        plain = StrictModel.__getattribute__

        def noting(model: StrictModel, name: str) -> Any:
            self.seen.add((type(model), name))
            return plain(model, name)

        # Dumping and comparing models read no attributes: what is seen is what somebody used.
        monkeypatch.setattr(StrictModel, "__getattribute__", noting, raising=False)


def run(args: list[str]) -> str:
    result = CliRunner().invoke(app, args, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def follow_header(name: str, source: Path, weights: Path, place: Path) -> Path:
    """Run the commands of a recipe's header in a folder, smaller, and return the run's directory."""
    recipe = load_recipe(name)
    smaller = [word for override in small(recipe) for word in ("--set", override)]
    if not recipe.encoder.trainable:
        smaller += ["--set", "encoder.name=small", "--encoder-weights", str(weights)]
    runs = None
    for verb, *rest in commands_of(name):
        args = [
            word.replace("path/to/" + source.name, str(source))
            .replace("data/", f"{place}/data/")
            .replace("runs/", f"{place}/runs/")
            .replace("photo.jpg", f"{place}/photo.jpg")
            .replace("folder/", f"{place}/folder/")
            for word in rest
        ]
        if verb in ("train", "tune"):
            args += smaller
        if verb == "tune":
            args += ["--trials", "1", "--subset", "6"]
        said = run([verb, *args])
        if verb == "train":
            runs = Path(args[args.index("-o") + 1])
            assert "CIDEr-D" in said
        if verb == "caption":
            assert [line.split("\t")[0] for line in said.splitlines()] == [
                f"{place}/photo.jpg",
                f"{place}/folder/other.jpg",
            ]
    assert runs is not None
    return runs


def keys_of(values: dict[str, Any], model: BaseModel, path: str = "") -> Iterator[tuple[str, type, str]]:
    """Yield each key that a recipe's file has, with the model that holds it.

    A name that only one model may have is left out: it was read when that model was chosen.
    """
    for key, value in values.items():
        if len(get_args(type(model).model_fields[key].annotation)) != 1 or isinstance(value, dict | list):
            yield f"{path}{key}", type(model), key
        inner = getattr(model, key)
        if isinstance(value, dict):
            yield from keys_of(value, inner, f"{path}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for number, (part, held) in enumerate(zip(value, inner, strict=True)):
                yield from keys_of(part, held, f"{path}{key}.{number}.")


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.thorough)
        for name in shipped_recipes()
        if name != "fine-tune"
    ],
)
def test_a_shipped_recipe_runs_by_the_commands_of_its_header_and_all_its_keys_are_read(
    name: str,
    published: Callable[[str], Path],
    photograph: Callable[[int], Image.Image],
    encoder_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads = Reads(monkeypatch)
    if name == "demo":
        assert commands_of(name) == [["demo"]]
        sizes = {"num_train": 12, "num_dev": 3, "num_test": 4}
        run_demo(tmp_path, **sizes, overrides=small(load_recipe(name)), min_accuracy=0.0)
        directory, data, split = tmp_path / "run", tmp_path / "set", "test"
    else:
        source = published(name.split("-", maxsplit=1)[0])
        for number, picture in enumerate(("photo.jpg", "folder/other.jpg")):
            (tmp_path / picture).parent.mkdir(exist_ok=True)
            photograph(90 + number).save(tmp_path / picture)
        directory = follow_header(name, source, encoder_weights, tmp_path)
        data, split = tmp_path / "data" / source.name, "dev"
    predictions = tmp_path / "predictions.jsonl"
    scored = run(
        ["evaluate", str(directory), "--data", str(data), "--split", split, "--predictions", str(predictions)]
    )
    # The rate falls when several validations in a row were no better, which two epochs do not bring.
    plateau = ReduceOnPlateau(load_recipe(name).schedule)
    for _ in range(9):
        plateau.update(False)
    used = set(reads.seen)
    assert "BLEU-4" in scored
    rows = [json.loads(line) for line in predictions.read_text(encoding="utf-8").splitlines()]
    assert rows
    assert not [row for row in rows if any(special in row["candidate"] for special in SPECIALS)]
    kinds = {row["event"] for row in read_metrics(directory)}
    assert {"epoch", "validation"} <= kinds
    assert (directory / "report.html").is_file()
    values = yaml.safe_load(shipped_recipes()[name].read_text(encoding="utf-8"))
    unread = [path for path, model, key in keys_of(values, load_recipe(name)) if (model, key) not in used]
    assert unread == []


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_header_says_what_a_recipe_is_and_what_was_measured(name: str) -> None:
    header = header_of(name)
    assert re.fullmatch(r"[A-Z].{30,}\.", header[0])
    assert header[1] == ""
    starts = [line.split(":")[0] + ":" for line in header if line.startswith(HEADER)]
    assert starts == list(HEADER)
    commands = commands_of(name)
    assert [command[0] for command in commands if command[0] in ("prepare", "train", "demo")] in (
        ["prepare", "train"],
        ["demo"],
    )
    for command in commands:
        assert name in command or command[0] in ("prepare", "caption", "demo")
    score = next(line for line in header if line.startswith("Score:"))
    assert "not measured" in score or re.search(r"\d", score)


@pytest.mark.parametrize(
    "name",
    [
        "coco-show-and-tell",
        "flickr30k-attention",
        "coco-augmented",
        "flickr30k-best",
        "flickr30k-best-rl",
        "coco-best",
        "coco-best-rl",
    ],
)
def test_what_was_not_measured_says_so(name: str) -> None:
    for word in ("Hardware:", "Minutes:", "Score:"):
        [line] = [line for line in header_of(name) if line.startswith(word)]
        assert NOT_MEASURED in line


def test_the_list_of_recipes_shows_each_with_its_first_line() -> None:
    lines = run(["recipes"]).splitlines()
    assert lines == [f"{name:<24} {header_of(name)[0]}" for name in shipped_recipes()]


def test_recipes_are_what_their_originals_were() -> None:
    plain = load_recipe("coco-show-and-tell")
    assert (plain.decoder.name, plain.encoder.trainable, plain.generation.method) == ("lstm", False, "greedy")
    assert plain.decoder.image_head == "batch-norm"  # type: ignore[union-attr]
    assert (plain.optimizer.name, plain.optimizer.lr, plain.objective[0].label_smoothing) == (
        "adam",
        1e-3,
        0.0,
    )
    flickr = load_recipe("flickr30k-attention")
    assert flickr.training.batch_size * flickr.data.captions_per_image == 32
    assert (flickr.optimizer.name, flickr.optimizer.lr, flickr.data.max_tokens) == ("adam", 5e-4, 20)
    assert (flickr.training.early_stopping_patience, flickr.validation.metric) == (3, "loss")
    live = load_recipe("coco-augmented")
    assert live.data.augment is not None
    assert (live.data.flip, live.validation.metric, live.tokenizer.min_count) == (True, "loss", 5)
    seen = live.encoder.preprocessing
    assert seen is not None
    assert (seen.resize, seen.crop) == ("crop", live.data.augment.crop)


@pytest.mark.parametrize("name", ["flickr8k", "flickr30k", "coco"])
def test_the_best_with_rewards_is_the_best_and_a_phase_more(name: str) -> None:
    plain, rewarded = (load_recipe(f"{name}-best{end}") for end in ("", "-rl"))
    assert rewarded.model_copy(update={"objective": rewarded.objective[:1]}) == plain
    assert [phase.name for phase in rewarded.objective] == ["cross-entropy", "self-critical"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["coco-show-and-tell", "coco-augmented"])
def test_a_coco_recipe_learns_from_real_photographs_through_the_real_encoder(
    name: str, shared_data: Path, tmp_path: Path
) -> None:
    weights = shared_data / "weights" / "resnet50_imagenet.safetensors"
    prepared = prepare(shared_data / "data" / "coco_mini", tmp_path / "set")
    recipe = load_recipe(name, ["objective.0.epochs=3"])
    out = tmp_path / "run"
    train(recipe, data=prepared.directory, out=out, encoder_weights=weights)
    losses = [row["loss"] for row in read_metrics(out) if row["event"] == "validation"]
    assert losses == sorted(losses, reverse=True)
    # What is looked at live is what is kept, to the bit, whatever precision training uses.
    rows = prepared.split_rows("dev")[:8]
    encoder = build_encoder(recipe.encoder, weights=weights)
    live = ImageSource(prepared, encoder.preprocessing).load(rows, np.zeros(8, dtype=bool))
    model = CaptioningModel(load_checkpoint(out, with_encoder=False).model.decoder, encoder).train()
    with torch.autocast("cpu", torch.bfloat16):
        seen = model.encode(live)
    [cache] = (tmp_path / "set-features").iterdir()
    kept = np.memmap(cache / "pooled.f16", np.float16, "r").reshape(len(prepared), -1)
    assert np.array_equal(seen.pooled.numpy().astype(np.float16), kept[rows])
