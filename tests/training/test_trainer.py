"""A run from start to end at toy size: resume, freezing, seeds, what is written, and what is refused."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from showtell.checkpoints.checkpoint import load_checkpoint
from showtell.config.recipe import CrossEntropy, Recipe, SelfCritical, parse_recipe
from showtell.data.prepared import PreparedSet
from showtell.errors import CheckpointError, ConfigError, DataError, EncoderError, TrainingError
from showtell.system.atomic import write_summed_json
from showtell.training import trainer as trainer_module
from showtell.training.evaluate import evaluate_checkpoint
from showtell.training.evaluator import Evaluator
from showtell.training.objectives import losses as objectives
from showtell.training.predictions import load_evaluation
from showtell.training.run_checkpoints import RunCheckpoints
from showtell.training.tracking import read_metrics
from showtell.training.train_step import TrainStep
from showtell.training.trainer import train
from showtell.training.trainer_state import TrainerState


def changed(recipe: Recipe, **sections: dict[str, object] | list[dict[str, object]]) -> Recipe:
    values = recipe.model_dump(mode="json")
    for name, keys in sections.items():
        values[name] = values[name] | keys if isinstance(keys, dict) else keys
    return parse_recipe(values, "the changed recipe")


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "last" / "trainer.safetensors")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_writes_what_the_design_says(toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path) -> None:
    result = train(toy_recipe, data=toy_set.directory, out=tmp_path / "run")
    found = {
        str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*") if path.is_file()
    }
    assert {
        "manifest.json",
        "recipe.yaml",
        "metrics.jsonl",
        "log.txt",
        "best/config.json",
        "best/decoder.safetensors",
        "best/tokenizer.json",
        "best/encoder.safetensors",
        "best/README.md",
        "best/predictions.jsonl",
        "last/trainer.json",
        "last/trainer.safetensors",
    } <= found
    assert not [name for name in found if name.endswith((".pt", ".pth", ".pkl", ".tmp"))]
    kinds = [row["event"] for row in read_metrics(tmp_path / "run")]
    assert kinds.count("validation") == 2
    assert result.progress.finished
    predictions = (tmp_path / "run" / "best" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(predictions) == 8
    first = json.loads(predictions[0])
    assert len(first["attention"]) == len(first["words"])


def test_a_recipe_with_retrieval_ends_with_a_datastore_of_the_training_images(
    toy_set: PreparedSet, toy_recipe: Recipe, encoder_weights: Path, tmp_path: Path
) -> None:
    recipe = changed(
        toy_recipe,
        encoder={"trainable": False, "weights": str(encoder_weights)},
        generation={"retrieval": "rerank", "beam_size": 4},
        objective=[{"name": "cross-entropy", "epochs": 1}],
    )
    run = tmp_path / "run"
    options: dict[str, Any] = {"data": toy_set.directory, "out": run, "features": tmp_path / "features"}
    ended = train(recipe, **options).evaluation
    best = load_checkpoint(run / "best", encoder_weights=encoder_weights)
    assert best.datastore is not None
    assert best.datastore.keys == [toy_set.key(int(row)) for row in toy_set.split_rows("train")]
    assert best.generation.retrieval == "rerank"
    assert best.config["scores"]["values"] == ended.scores.values
    assert load_checkpoint(run / "last", encoder_weights=encoder_weights).generation.retrieval == "off"
    again = evaluate_checkpoint(run, data=toy_set.directory, features=tmp_path / "features")
    assert again.texts == ended.texts
    # A finished run gets its encoder later, and keeps its datastore.
    assert train(recipe, **options, include_encoder=True).evaluation.texts == ended.texts
    complete = load_checkpoint(run / "best")
    assert complete.datastore is not None
    assert complete.datastore.keys == best.datastore.keys


def test_a_recipe_that_would_index_what_it_validates_on_is_refused_before_it_trains(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = changed(toy_recipe, generation={"retrieval": "rerank"}, validation={"split": "train"})
    with pytest.raises(DataError, match=r"16 of 16 in its datastore.*0\.png"):
        train(recipe, data=toy_set.directory, out=tmp_path / "run")
    assert not (tmp_path / "run" / "last").exists()


def test_the_same_seed_gives_the_same_bits(
    toy_set: PreparedSet, toy_recipe: Recipe, toy_run: Path, tmp_path: Path
) -> None:
    train(toy_recipe, data=toy_set.directory, out=tmp_path / "again")
    assert same(weights_of(toy_run), weights_of(tmp_path / "again"))
    train(changed(toy_recipe, training={"seed": 1}), data=toy_set.directory, out=tmp_path / "other")
    assert not same(weights_of(toy_run), weights_of(tmp_path / "other"))


@pytest.mark.thorough
@pytest.mark.parametrize("restart", [False, True])
def test_two_processes_never_train_the_same_run(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path, restart: bool
) -> None:
    run = tmp_path / "run"

    def train_again(epoch: int, row: dict[str, float]) -> None:
        manifest = (run / "manifest.json").stat()
        with pytest.raises(DataError, match="run is in use by another process"):
            train(toy_recipe, data=toy_set.directory, out=run, restart=restart)
        assert (run / "manifest.json").stat() == manifest

    train(toy_recipe, data=toy_set.directory, out=run, on_validation=train_again)
    assert not (tmp_path / ".run.lock").exists()


class StopError(Exception):
    """Stands for whatever ends a process."""


@pytest.mark.parametrize(
    ("stop_at", "precision"), [(1, "fp32"), pytest.param(6, "fp16", marks=pytest.mark.thorough)]
)
def test_a_run_that_was_interrupted_ends_with_the_same_bits(
    toy_set: PreparedSet,
    toy_recipe: Recipe,
    tmp_path: Path,
    cut_before: Callable[[int], AbstractContextManager[None]],
    stop_at: int,
    precision: str,
) -> None:
    recipe = changed(
        toy_recipe,
        training={"save_steps": 1, "micro_batch_size": 3, "precision": precision},
        schedule={"name": "plateau", "patience": 0},
    )
    train(recipe, data=toy_set.directory, out=tmp_path / "whole")
    with cut_before(stop_at):
        train(recipe, data=toy_set.directory, out=tmp_path / "cut")
    train(recipe, data=toy_set.directory, out=tmp_path / "cut")
    assert same(weights_of(tmp_path / "whole"), weights_of(tmp_path / "cut"))

    def told(name: str) -> list[dict[str, object]]:
        timed = {"elapsed_s", "eval_s", "captions_per_s", "tokens_per_s", "peak_memory_gb"}
        return [{k: v for k, v in row.items() if k not in timed} for row in read_metrics(tmp_path / name)]

    assert told("whole") == told("cut")


def _train_in_a_process(recipe: Recipe, data: Path, out: Path) -> None:
    train(recipe, data=data, out=out)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_run_that_was_killed_at_any_moment_ends_with_the_same_bits(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path, precision: str
) -> None:
    """Live pictures, mirrored ones among them, in parts; rates that fall on a plateau; an early end."""
    recipe = changed(
        toy_recipe,
        data={"flip": True},
        schedule={"name": "plateau", "patience": 0},
        validation={"metric": "loss"},
        training={
            "save_steps": 3,
            "micro_batch_size": 3,
            "early_stopping_patience": 3,
            "precision": precision,
        },
        optimizer={"lr": 0.1},
        objective=[{"name": "cross-entropy", "epochs": 60}],
    )
    whole = train(recipe, data=toy_set.directory, out=tmp_path / "whole").progress
    assert whole.epoch < 60
    spawn = multiprocessing.get_context("spawn")
    moments, kills = random.Random(precision), 0
    for _ in range(20):
        before = metrics_size(tmp_path / "cut")
        process = spawn.Process(
            target=_train_in_a_process, args=(recipe, toy_set.directory, tmp_path / "cut")
        )
        process.start()
        # Python and torch take seconds to start: the moment counts from where training goes on.
        while process.is_alive() and metrics_size(tmp_path / "cut") == before:
            time.sleep(0.002)
        process.join(timeout=moments.uniform(0.0, whole.seconds / 4) if kills < 6 else None)
        if process.exitcode is not None:
            break
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        kills += 1
    assert kills >= 3
    assert process.exitcode == 0
    assert same(weights_of(tmp_path / "whole"), weights_of(tmp_path / "cut"))
    for name in ("best", "last"):
        found = [tmp_path / run / name / "decoder.safetensors" for run in ("whole", "cut")]
        assert found[0].read_bytes() == found[1].read_bytes()


def metrics_size(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.stat().st_size if path.exists() else 0


@pytest.mark.thorough
def test_a_frozen_encoder_never_moves(
    toy_set: PreparedSet, toy_recipe: Recipe, toy_run: Path, tmp_path: Path
) -> None:
    weights = toy_run / "best" / "encoder.safetensors"
    before = weights.read_bytes()
    frozen = changed(toy_recipe, encoder={"trainable": False})
    train(
        frozen,
        data=toy_set.directory,
        out=tmp_path / "second",
        encoder_weights=weights,
        features=tmp_path / "features",
        include_encoder=True,
    )
    assert (tmp_path / "second" / "best" / "encoder.safetensors").read_bytes() == before
    assert not [name for name in weights_of(tmp_path / "second") if "encoder" in name]


def test_a_trained_encoder_moves(toy_set: PreparedSet, toy_recipe: Recipe, toy_run: Path) -> None:
    moments = [name for name in weights_of(toy_run) if name.startswith("optimizer.exp_avg.encoder")]
    assert moments
    assert any("running_mean" in name for name in weights_of(toy_run))


@pytest.mark.thorough
def test_another_recipe_in_the_same_place_is_refused(
    toy_set: PreparedSet, toy_recipe: Recipe, toy_run: Path
) -> None:
    other = changed(toy_recipe, optimizer={"lr": 0.5})
    message = r"another run: found recipe\.optimizer\.lr: 0\.01 → 0\.5\. .*training\.init_from=.*--restart"
    with pytest.raises(ConfigError, match=message):
        train(other, data=toy_set.directory, out=toy_run)
    before = weights_of(toy_run)
    train(other, data=toy_set.directory, out=toy_run, restart=True)
    assert not same(before, weights_of(toy_run))


def test_a_run_from_before_a_key_was_there_goes_on(
    toy_set: PreparedSet, toy_recipe: Recipe, toy_run: Path
) -> None:
    path = toy_run / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    del manifest["recipe"]["training"]["micro_batch_size"]
    write_summed_json(path, manifest)
    before = weights_of(toy_run)
    train(toy_recipe, data=toy_set.directory, out=toy_run)
    assert same(before, weights_of(toy_run))
    with pytest.raises(ConfigError, match=r"micro_batch_size: 0 → 2"):
        train(
            changed(toy_recipe, training={"micro_batch_size": 2}),
            data=toy_set.directory,
            out=toy_run,
        )


def test_what_fails_before_the_start_leaves_the_run_as_it_was(
    toy_set: PreparedSet, toy_recipe: Recipe, toy_run: Path, tmp_path: Path
) -> None:
    wrong = changed(toy_recipe, validation={"split": "devel"})
    with pytest.raises(ConfigError, match="devel"):
        train(wrong, data=toy_set.directory, out=tmp_path / "new")
    before = bytes_of(toy_run / "last")
    with pytest.raises(ConfigError, match="devel"):
        train(wrong, data=toy_set.directory, out=toy_run, restart=True)
    assert bytes_of(toy_run / "last") == before


def test_a_run_that_lost_its_state_is_not_silently_trained_again(
    toy_set: PreparedSet, toy_recipe: Recipe, toy_run: Path
) -> None:
    shutil.rmtree(toy_run / "last")
    before = bytes_of(toy_run / "best")
    with pytest.raises(CheckpointError, match=r"best/ without last/trainer\.json.*--restart"):
        train(toy_recipe, data=toy_set.directory, out=toy_run)
    assert bytes_of(toy_run / "best") == before


def test_a_place_that_is_no_run_is_never_written_over(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match="is not a showtell run"):
        train(toy_recipe, data=toy_set.directory, out=tmp_path / "run", restart=True)
    assert (tmp_path / "run" / "thesis.txt").read_text(encoding="utf-8") == "mine"


def bytes_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("broken", "found"), [("loss", "a loss of nan"), ("gradient", "a gradient norm of nan")]
)
def test_numbers_that_are_not_finite_end_the_run_and_spoil_nothing(
    toy_set: PreparedSet,
    toy_recipe: Recipe,
    toy_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
    found: str,
) -> None:
    recipe = changed(toy_recipe, training={"save_steps": 1})
    step, objective = TrainStep.step, objectives.cross_entropy
    saved: dict[str, dict[str, bytes]] = {}

    def breaking_objective(*args: object, **keys: object) -> object:
        loss, tokens = objective(*args, **keys)  # type: ignore[arg-type]
        if broken == "loss":
            return loss * float("nan"), tokens
        loss.register_hook(lambda gradient: gradient * float("nan"))
        return loss, tokens

    def breaking_step(self: TrainStep, *rest: object) -> object:
        if self.state.progress.step == 6:
            saved.update({name: bytes_of(tmp_path / "cut" / name) for name in ("best", "last")})
            patch.setattr(objectives, "cross_entropy", breaking_objective)
        return step(self, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(TrainStep, "step", breaking_step)
        with pytest.raises(TrainingError, match=rf"diverged at step 7: found {found}.*optimizer\.lr"):
            train(recipe, data=toy_set.directory, out=tmp_path / "cut")
    assert {name: bytes_of(tmp_path / "cut" / name) for name in ("best", "last")} == saved
    train(recipe, data=toy_set.directory, out=tmp_path / "cut")
    assert same(weights_of(toy_run), weights_of(tmp_path / "cut"))


def test_a_cut_state_is_refused_and_best_still_captions(
    toy_set: PreparedSet, toy_recipe: Recipe, toy_run: Path
) -> None:
    state = toy_run / "last" / "trainer.safetensors"
    state.write_bytes(state.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match=r"cannot resume from .*last: found .*cut short"):
        train(toy_recipe, data=toy_set.directory, out=toy_run)
    assert load_checkpoint(toy_run).tokenizer.size > 4


def test_early_stopping_ends_a_run_that_no_longer_improves(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path
) -> None:
    values = toy_recipe.model_dump(mode="json")
    values["objective"][0]["epochs"] = 50
    values["optimizer"]["lr"] = 1e-9
    values["training"] |= {"early_stopping_patience": 2, "ema_decay": 0.0}
    result = train(parse_recipe(values, "recipe"), data=toy_set.directory, out=tmp_path / "run")
    assert result.progress.epoch == 3
    assert "stops early: 2 validations" in (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")


def test_of_equal_scores_the_lower_loss_is_best_and_a_tie_of_zeros_stops_nothing(
    toy_recipe: Recipe, make_set: Callable[..., PreparedSet], tmp_path: Path
) -> None:
    captions = [["one red picture"], ["a second green picture"], ["the third is blue"]]
    # CIDEr-D of a single image is 0, whatever its caption.
    prepared = make_set("single", train=captions, dev=captions[:1])
    values = toy_recipe.model_dump(mode="json")
    values["objective"][0]["epochs"] = 12
    values["training"]["early_stopping_patience"] = 1
    values["schedule"] |= {"name": "plateau", "patience": 0}
    values["optimizer"]["lr"] = 0.1
    result = train(parse_recipe(values, "recipe"), data=prepared.directory, out=tmp_path / "run")
    losses = [row["loss"] for row in read_metrics(tmp_path / "run") if row["event"] == "validation"]
    assert result.progress.epoch == 12
    assert losses != sorted(losses, reverse=True)
    assert result.progress.best_epoch == 1 + losses.index(min(losses))
    assert result.progress.best_score == 0.0
    state = json.loads((tmp_path / "run" / "last" / "trainer.json").read_text(encoding="utf-8"))
    assert state["plateau"]["lr_scale"] == 1.0


@pytest.mark.thorough
def test_the_last_epoch_is_kept_if_scores_do_not_choose(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path
) -> None:
    values = toy_recipe.model_dump(mode="json")
    values["objective"][0]["epochs"] = 4
    values["optimizer"]["lr"] = 1e-9  # equal scores
    values["validation"] |= {"select": "last"}
    values["training"]["early_stopping_patience"] = 1
    result = train(parse_recipe(values, "recipe"), data=toy_set.directory, out=tmp_path / "run")
    assert (result.progress.best_epoch, result.progress.epoch) == (4, 4)


@pytest.mark.thorough
def test_a_captioner_that_says_the_same_of_all_images_is_warned_of(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path
) -> None:
    values = toy_recipe.model_dump(mode="json")
    values["optimizer"]["lr"] = 1e-9
    train(parse_recipe(values, "recipe"), data=toy_set.directory, out=tmp_path / "run")
    log = (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
    assert "warning: 8 of 8 validation images have the same caption, '" in log


@pytest.mark.thorough
def test_each_validation_is_told_and_may_end_the_run(
    toy_set: PreparedSet, toy_recipe: Recipe, toy_run: Path, tmp_path: Path
) -> None:
    told: list[tuple[int, float]] = []

    def listen(epoch: int, row: dict[str, float]) -> None:
        told.append((epoch, row["loss"]))
        if len(told) == 1:
            raise StopError

    with pytest.raises(StopError):
        train(toy_recipe, data=toy_set.directory, out=tmp_path / "listened", on_validation=listen)
    train(toy_recipe, data=toy_set.directory, out=tmp_path / "listened", on_validation=listen)
    rows = [row for row in read_metrics(tmp_path / "listened") if row["event"] == "validation"]
    assert told == [(row["epoch"], row["loss"]) for row in rows] == [(1, told[0][1]), (2, told[1][1])]
    assert same(weights_of(toy_run), weights_of(tmp_path / "listened"))


@pytest.mark.thorough
def test_tensorboard_gets_the_numbers(toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    recipe = changed(toy_recipe, training={"trackers": ["tensorboard"]})
    train(recipe, data=toy_set.directory, out=tmp_path / "run")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert len(events.Scalars("validation/CIDEr-D")) == 2


@pytest.mark.thorough
def test_a_finished_run_is_not_decoded_again(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(toy_recipe, data=toy_set.directory, out=tmp_path / "run")
    decoded: list[object] = []
    evaluator = Evaluator.evaluate

    def counting(self: Evaluator, *rest: object, **keys: object) -> object:
        decoded.append(self)
        return evaluator(self, *rest, **keys)  # type: ignore[arg-type]

    monkeypatch.setattr(Evaluator, "evaluate", counting)
    again = train(toy_recipe, data=toy_set.directory, out=tmp_path / "run")
    assert not decoded
    assert again.evaluation.scores == first.evaluation.scores
    assert again.evaluation.texts == first.evaluation.texts
    assert again.evaluation.rows == first.evaluation.rows
    for old, new in zip(first.evaluation.hypotheses, again.evaluation.hypotheses, strict=True):
        assert (old.ids, old.score, old.token_log_probs) == (new.ids, new.score, new.token_log_probs)
    said = tmp_path / "run" / "best" / "predictions.jsonl"
    said.write_text(said.read_text(encoding="utf-8")[:-9], encoding="utf-8")
    train(toy_recipe, data=toy_set.directory, out=tmp_path / "run")
    assert len(decoded) == 1


@pytest.mark.thorough
def test_a_finished_run_can_be_given_its_encoder(
    toy_set: PreparedSet, toy_recipe: Recipe, encoder_weights: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "weights.safetensors"
    shutil.copy(encoder_weights, weights)
    frozen = changed(toy_recipe, encoder={"trainable": False})
    places = {"data": toy_set.directory, "out": tmp_path / "run", "features": tmp_path / "features"}
    before = train(frozen, encoder_weights=weights, **places).evaluation  # type: ignore[arg-type]
    decoder = (tmp_path / "run" / "best" / "decoder.safetensors").read_bytes()
    assert not (tmp_path / "run" / "best" / "encoder.safetensors").exists()
    after = train(frozen, encoder_weights=weights, include_encoder=True, **places).evaluation  # type: ignore[arg-type]
    weights.unlink()
    for name in ("best", "last"):
        loaded = load_checkpoint(tmp_path / "run" / name)
        assert loaded.model.encoder is not None
    assert (tmp_path / "run" / "best" / "decoder.safetensors").read_bytes() == decoder
    assert load_checkpoint(tmp_path / "run").config["scores"]["values"] == pytest.approx(before.scores.values)
    assert after.scores == before.scores
    assert load_evaluation(tmp_path / "run" / "best", toy_set) is not None


@pytest.mark.thorough
def test_the_time_of_looking_counts(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = trainer_module.build_components

    def slow(*rest: object) -> object:
        time.sleep(0.7)
        return build(*rest)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer_module, "build_components", slow)
    result = train(toy_recipe, data=toy_set.directory, out=tmp_path / "run")
    assert result.progress.seconds > 0.7


@pytest.mark.thorough
def test_time_spent_is_counted(toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path) -> None:
    started = time.monotonic()
    result = train(toy_recipe, data=toy_set.directory, out=tmp_path / "run")
    assert 0 < result.progress.seconds < time.monotonic() - started


@pytest.mark.thorough
def test_mirrored_pictures_are_kept_beside_the_plain_ones(
    toy_set: PreparedSet, toy_recipe: Recipe, encoder_weights: Path, tmp_path: Path
) -> None:
    recipe = changed(toy_recipe, encoder={"trainable": False}, data={"flip": True})
    train(
        recipe,
        data=toy_set.directory,
        out=tmp_path / "run",
        encoder_weights=encoder_weights,
        features=tmp_path / "kept",
    )
    caches = sorted((tmp_path / "kept").iterdir())
    views = [json.loads((cache / "manifest.json").read_text(encoding="utf-8")) for cache in caches]
    assert sorted(view["encoder"]["preprocessing"]["mirror"] for view in views) == [False, True]
    regions = [np.fromfile(cache / "regions.f16", np.float16) for cache in caches]
    assert not np.array_equal(*regions)


def test_half_precisions_learn_what_full_precision_learns(
    toy_set: PreparedSet, toy_recipe: Recipe, toy_run: Path, tmp_path: Path
) -> None:
    for precision in ("bf16", "fp16"):
        recipe = changed(toy_recipe, training={"precision": precision})
        train(recipe, data=toy_set.directory, out=tmp_path / precision)
    losses = {}
    for precision, run in (("fp32", toy_run), ("bf16", tmp_path / "bf16"), ("fp16", tmp_path / "fp16")):
        rows = [row for row in read_metrics(run) if row["event"] == "validation"]
        losses[precision] = rows[-1]["loss"]
    # Measured: bf16 0.0014 and fp16 0.0020 away from 2.5028 nats after 8 steps.
    assert losses["bf16"] == pytest.approx(losses["fp32"], abs=0.01)
    assert losses["fp16"] == pytest.approx(losses["fp32"], abs=0.01)
    assert losses["bf16"] != losses["fp32"]


def test_a_vocabulary_of_pieces_is_one_key(toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path) -> None:
    recipe = changed(toy_recipe, tokenizer={"kind": "bpe", "max_size": 300})
    result = train(recipe, data=toy_set.directory, out=tmp_path / "run")
    assert load_checkpoint(tmp_path / "run").tokenizer.kind == "bpe"
    assert len(result.evaluation.texts) == 8


@pytest.mark.thorough
def test_a_checkpoint_with_its_encoder_needs_nothing_else(
    toy_set: PreparedSet, toy_recipe: Recipe, encoder_weights: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "weights.safetensors"
    shutil.copy(encoder_weights, weights)
    frozen = changed(toy_recipe, encoder={"trainable": False})
    for name, include in (("with", True), ("without", False)):
        train(
            frozen,
            data=toy_set.directory,
            out=tmp_path / name,
            encoder_weights=weights,
            features=tmp_path / "features",
            include_encoder=include,
        )
    weights.unlink()
    assert load_checkpoint(tmp_path / "with").model.encoder is not None
    with pytest.raises(
        EncoderError, match=r"are missing: found no file .*weights\.safetensors\. .*--encoder-weights"
    ):
        load_checkpoint(tmp_path / "without")


PHASES = [
    {"name": "cross-entropy", "epochs": 2},
    {"name": "self-critical", "epochs": 2, "lr": 0.003, "samples": 3, "bleu": 1.0, "interpolate_init": 0.25},
]


def in_phases(recipe: Recipe, **training: object) -> Recipe:
    return parse_recipe(
        {
            **changed(recipe, training=training, data={"flip": True}).model_dump(mode="json"),
            "objective": PHASES,
        },
        "a recipe of two phases",
    )


@pytest.mark.thorough
def test_a_reward_phase_follows_at_its_own_rate(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("showtell.training.trainer.LOG_STEPS", 1)
    train(in_phases(toy_recipe), data=toy_set.directory, out=tmp_path / "run")
    steps = [row for row in read_metrics(tmp_path / "run") if row["event"] == "step"]
    first, second = ([row for row in steps if row["epoch"] in epochs] for epochs in ((1, 2), (3, 4)))
    assert max(row["lr"] for row in first) == pytest.approx(0.01, rel=0.1)
    assert max(row["lr"] for row in second) == pytest.approx(0.003, rel=0.1)
    assert [row["lr"] / 0.01 for row in first] == pytest.approx([row["lr"] / 0.003 for row in second])
    assert all("reward" in row for row in second)
    assert not any("reward" in row for row in first)


@pytest.mark.thorough
def test_a_phase_starts_from_the_best_weights_and_without_a_past(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, seen = TrainStep.step, []

    def looking_step(self: TrainStep, *rest: object) -> object:
        state = self.state.progress
        if state.phase == 1 and state.phase_epoch == state.batch_in_epoch == 0:
            best = load_checkpoint(tmp_path / "run" / "best").model.decoder.state_dict()
            now = self.model.decoder.state_dict()
            seen.append(all(torch.equal(best[name], now[name]) for name in best))
            average = self.state.ema.average
            seen.append(all(torch.equal(average[f"decoder.{name}"], now[name]) for name in now))
            seen.append(not self.state.optimizer.state)
        return step(self, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(TrainStep, "step", looking_step)
    train(in_phases(toy_recipe), data=toy_set.directory, out=tmp_path / "run")
    assert seen == [True, True, True]


@pytest.mark.thorough
def test_what_is_kept_holds_a_share_of_the_weights_that_the_phase_began_with(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best, begin = tmp_path / "run" / "best", TrainerState.reset

    def noting(self: TrainerState, phase: SelfCritical) -> None:
        shutil.copy(best / "decoder.safetensors", tmp_path / "begun.safetensors")
        begin(self, phase)

    monkeypatch.setattr(TrainerState, "reset", noting)
    train(in_phases(toy_recipe), data=toy_set.directory, out=tmp_path / "run")
    first, state = load_file(tmp_path / "begun.safetensors"), weights_of(tmp_path / "run")
    for name, value in load_file(tmp_path / "run" / "last" / "decoder.safetensors").items():
        start, average = state[f"initial.decoder.{name}"], state[f"ema.decoder.{name}"]
        assert torch.equal(start, first[name])
        assert torch.equal(value, torch.lerp(average, start, 0.25))


@pytest.mark.thorough
@pytest.mark.parametrize(
    "stop_at", [4, pytest.param(2, marks=pytest.mark.slow), pytest.param(5, marks=pytest.mark.slow)]
)
def test_a_run_cut_between_or_inside_phases_ends_with_the_same_bits(
    toy_set: PreparedSet,
    toy_recipe: Recipe,
    tmp_path: Path,
    cut_before: Callable[[int], AbstractContextManager[None]],
    stop_at: int,
) -> None:
    recipe = in_phases(toy_recipe, save_steps=1, batch_size=8)
    train(recipe, data=toy_set.directory, out=tmp_path / "whole")
    with cut_before(stop_at):
        train(recipe, data=toy_set.directory, out=tmp_path / "cut")
    train(recipe, data=toy_set.directory, out=tmp_path / "cut")
    assert same(weights_of(tmp_path / "whole"), weights_of(tmp_path / "cut"))


@pytest.mark.thorough
def test_early_stopping_ends_a_phase_and_the_next_one_begins(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = parse_recipe(
        {
            **changed(toy_recipe, training={"early_stopping_patience": 1}, optimizer={"lr": 1e-9}).model_dump(
                mode="json"
            ),
            "objective": [{"name": "cross-entropy", "epochs": 50}, PHASES[1]],
        },
        "a recipe of two phases",
    )
    result = train(recipe, data=toy_set.directory, out=tmp_path / "run")
    assert result.progress.phase == 2
    assert result.progress.epoch < 20
    rewarded = [row for row in read_metrics(tmp_path / "run") if row["event"] == "validation"]
    assert len(rewarded) == result.progress.epoch


@pytest.mark.thorough
def test_a_run_cut_after_its_best_and_before_its_state_ends_with_the_same_bits(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A phase once began from a ``best/`` that the phase itself had written before it was cut."""
    phases = [{"name": "cross-entropy", "epochs": 1}, {"name": "cross-entropy", "epochs": 2}]
    recipe = changed(toy_recipe, objective=phases, validation={"metric": "loss"})
    train(recipe, data=toy_set.directory, out=tmp_path / "whole")
    save_last = RunCheckpoints.save_last

    def failing(run: RunCheckpoints) -> None:
        if run.state.progress.phase == run.state.progress.phase_epoch == 1:
            assert run.state.progress.best_epoch == 2
            raise StopError
        save_last(run)

    with monkeypatch.context() as patch:
        patch.setattr(RunCheckpoints, "save_last", failing)
        with pytest.raises(StopError):
            train(recipe, data=toy_set.directory, out=tmp_path / "cut")
    train(recipe, data=toy_set.directory, out=tmp_path / "cut")
    assert same(weights_of(tmp_path / "whole"), weights_of(tmp_path / "cut"))


@pytest.mark.thorough
def test_what_a_phase_makes_small_is_built_once(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, built = trainer_module.build_objective, []

    def watch(phase: CrossEntropy | SelfCritical, *rest: Any) -> objectives.Objective:
        built.append(phase.name)
        return build(phase, *rest)

    monkeypatch.setattr(trainer_module, "build_objective", watch)
    train(in_phases(toy_recipe), data=toy_set.directory, out=tmp_path / "run")
    assert built == ["cross-entropy", "self-critical"]


def test_the_first_and_the_last_step_of_a_short_run_are_logged(
    toy_set: PreparedSet, toy_recipe: Recipe, toy_run: Path
) -> None:
    result = train(toy_recipe, data=toy_set.directory, out=toy_run)
    steps = [row for row in read_metrics(toy_run) if row["event"] == "step"]
    assert [row["step"] for row in steps] == [1, result.progress.step]
    assert all(row["lr"] > 0 and row["peak_memory_gb"] > 0 for row in steps)


@pytest.mark.thorough
def test_a_run_remembers_its_encoder_weights(
    toy_set: PreparedSet, toy_recipe: Recipe, encoder_weights: Path, tmp_path: Path
) -> None:
    places = {"data": toy_set.directory, "out": tmp_path / "run", "features": tmp_path / "features"}
    frozen = changed(toy_recipe, encoder={"trainable": False})
    first = train(frozen, encoder_weights=encoder_weights, **places)  # type: ignore[arg-type]
    assert train(frozen, **places).evaluation.texts == first.evaluation.texts  # type: ignore[arg-type]
    with pytest.raises(EncoderError, match="--encoder-weights"):
        train(frozen, restart=True, **places)  # type: ignore[arg-type]


@pytest.mark.thorough
def test_a_resnet_that_is_trained_is_evaluated_at_the_end(
    toy_set: PreparedSet, toy_recipe: Recipe, resnet18_weights: Path, tmp_path: Path
) -> None:
    """The last evaluation once failed with a KeyError: a loaded encoder has its batch norms folded."""
    encoder = {"name": "resnet18", "trainable": True, "preprocessing": {"size": 32}}
    recipe = changed(
        toy_recipe,
        encoder=toy_recipe.encoder.model_dump(mode="json") | encoder,
        objective=[{"name": "cross-entropy", "epochs": 1}],
    )
    result = train(recipe, data=toy_set.directory, out=tmp_path / "run", encoder_weights=resnet18_weights)
    assert len(result.evaluation.texts) == 8
    assert load_evaluation(tmp_path / "run" / "best", toy_set) is not None


def test_a_disk_without_room_for_the_checkpoints_is_reported_before_training(
    toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(
        DataError, match=r"too little disk space for the checkpoints of .*run: found 0\.0 MB free"
    ):
        train(toy_recipe, data=toy_set.directory, out=tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_an_interrupted_run_says_how_to_resume(
    toy_set: PreparedSet,
    toy_recipe: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainStep, "step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(toy_recipe, data=toy_set.directory, out=tmp_path / "run")
    assert "interrupted; run the same command again to resume" in capsys.readouterr().err


def test_a_run_of_an_earlier_format_is_refused_in_one_line(
    toy_set: PreparedSet, toy_recipe: Recipe, toy_run: Path
) -> None:
    path = toy_run / "manifest.json"
    write_summed_json(path, {**json.loads(path.read_text(encoding="utf-8")), "format": 1})
    with pytest.raises(DataError, match=r"format 1; expected format 2\. .*again") as caught:
        train(toy_recipe, data=toy_set.directory, out=toy_run)
    assert "\n" not in str(caught.value)
