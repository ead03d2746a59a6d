"""Training a captioner: one function that reads from top to bottom, and the pieces it calls."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from showtell.console import note, progress
from showtell.data.batches import Batch
from showtell.data.prepared import PreparedSet
from showtell.errors import TrainingError
from showtell.files import atomic_directory
from showtell.models.checkpoint import load_checkpoint, save_checkpoint
from showtell.recipes.schema import CrossEntropy, Recipe
from showtell.training.averaging import WeightAverage
from showtell.training.judging import Judgement, mean_loss, write_predictions
from showtell.training.objectives import cross_entropy
from showtell.training.parts import Parts, build_encoder_of, build_parts, compute_of
from showtell.training.run import Moving, Progress, check_run, open_run
from showtell.training.schedules import Plateau, rate_at
from showtell.training.tracking import Trackers, require_trackers

OnValidation = Callable[[int, dict[str, float]], None]

LOG_STEPS = 20
SHOWN_SCORES = ("BLEU-4", "ROUGE-L", "CIDEr-D")


@dataclass(frozen=True)
class RunResult:
    """What a training came to.

    Attributes:
        directory: The run.
        progress: Where it ended.
        judgement: Of ``best/`` on the validation split.
    """

    directory: Path
    progress: Progress
    judgement: Judgement


def train(
    recipe: Recipe,
    *,
    data: Path,
    out: Path,
    encoder_weights: Path | None = None,
    features: Path | None = None,
    device: str = "auto",
    include_encoder: bool = False,
    restart: bool = False,
    on_validation: OnValidation | None = None,
) -> RunResult:
    """Train a captioner; running the same again goes on where an interrupted run stopped.

    Args:
        recipe: What to do, see `showtell.recipes.schema`.
        data: A prepared set.
        out: The run's directory.
        encoder_weights: A local file with the encoder's weights; remembered in the run.
        features: The folder of feature caches; None: beside the prepared set.
        device: ``auto``, ``cpu``, ``cuda``...
        include_encoder: Let checkpoints carry a frozen encoder too.
        restart: Start over where the directory holds a run.
        on_validation: Called after each validation, once ``last/`` is saved, with the epoch (from 1) and the
            validation's numbers (loss, BLEU-1...); what it raises ends the run, which can be gone on with.

    Raises:
        ShowtellError: bad data, weights or options; the loss stopped being finite; a full disk. ``best/`` and
            ``last/`` stay what they were.
    """
    require_trackers(recipe.training.trackers)
    compute = compute_of(recipe, device)
    prepared = PreparedSet.load(data)
    recipe = _remember_weights(recipe, encoder_weights)
    encoder = build_encoder_of(recipe, encoder_weights, compute)
    origin = {"data": {"fingerprint": prepared.fingerprint}, "encoder": encoder.identity()}
    # All that can fail comes before the run is touched.
    check_run(out, recipe, origin, restart=restart)
    parts = build_parts(recipe, prepared, encoder, compute, features)
    moving = _build_moving(recipe, parts)
    open_run(out, recipe, origin, restart=restart)
    moving.load(out)
    run = _Run(out, recipe, parts, moving, include_encoder)
    progress_so_far = moving.progress
    run.trackers.start(out)
    run.say(
        f"{out}: {compute}; {_count_weights(parts.model):,} weights to train, {parts.tokenizer.size:,} tokens"
    )
    if progress_so_far.step:
        run.say(f"goes on after step {progress_so_far.step:,}, epoch {progress_so_far.epoch}")
    if not (out / "last").exists():
        # So that best/ never stands without last/, and a place that is too small is known at once.
        run.save_last()
    scores = None
    try:
        while not progress_so_far.finished:
            _train_epoch(run)
            row = _end_epoch(run)
            run.save_last()
            if row is not None and on_validation is not None:
                on_validation(progress_so_far.epoch, row)
        judgement = _judge_best(run)
        scores = judgement.scores.values
    finally:
        run.trackers.finish(scores)
    values = ", ".join(f"{name} {100 * value:.2f}" for name, value in judgement.scores.values.items())
    minutes = progress_so_far.seconds / 60
    run.say(
        f"best epoch {progress_so_far.best_epoch} of {progress_so_far.epoch}, {minutes:.1f} minutes: {values}"
    )
    return RunResult(out, progress_so_far, judgement)


@dataclass(frozen=True)
class _Run:
    """A run under way: what it is made of, where it stands, where its numbers go."""

    out: Path
    recipe: Recipe
    parts: Parts
    moving: Moving
    include_encoder: bool

    @cached_property
    def trackers(self) -> Trackers:
        return Trackers(self.recipe.training.trackers, resume_step=self.moving.progress.step)

    def say(self, line: str) -> None:
        """Say a line on stderr and keep it in ``log.txt``."""
        note(line)
        with (self.out / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    def save_last(self) -> None:
        """Write ``last/``: the averaged weights as a captioner, and all that is needed to go on."""
        with atomic_directory(self.out / "last") as directory:
            with self.moving.average.applied():
                self.save_captioner(directory, {})
            self.moving.save(directory)

    def save_captioner(self, directory: Path, about: dict[str, Any]) -> None:
        """Write a checkpoint of the model's weights as they are now."""
        parts = self.parts
        data = {
            "name": parts.prepared.manifest.get("name") or parts.prepared.directory.name,
            "fingerprint": parts.prepared.fingerprint,
            "pictures": len(parts.batches.rows),
        }
        save_checkpoint(
            directory,
            decoder=parts.model.decoder.state_dict(),
            decoder_spec=self.recipe.decoder,
            tokenizer=parts.tokenizer,
            encoder=parts.encoder,
            include_encoder=self.include_encoder,
            search=self.recipe.search,
            about={"recipe": self.recipe.model_dump(mode="json"), "data": data, **about},
        )


def _train_epoch(run: _Run) -> None:
    """Go through the batches of an epoch, from where it was left."""
    recipe, parts, state = run.recipe, run.parts, run.moving.progress
    phase, epochs_before = _phase_of(recipe, state.epoch)
    steps, steps_before = phase.epochs * len(parts.batches), epochs_before * len(parts.batches)
    clock = _Clock(state)
    parts.model.train()
    with progress(f"epoch {state.epoch + 1}", len(parts.batches), unit="batches") as advance:
        advance(state.position, "")
        for batch in parts.batches.epoch(state.epoch, start=state.position):
            share = run.moving.plateau.share * rate_at(steps_before + state.position, steps, recipe.schedule)
            row = _step(run, batch, phase, recipe.optimizer.lr * share)
            if state.step % LOG_STEPS == 0:
                run.trackers.log(state.step, {"kind": "step", "epoch": state.epoch + 1, **row})
            advance(1, f"loss {state.loss / state.tokens:.3f}")
            if state.step % recipe.training.save_steps == 0 and state.position < len(parts.batches):
                clock.stop()
                run.save_last()
                parts.model.train()
    clock.stop()


def _end_epoch(run: _Run) -> dict[str, float] | None:
    """Validate, keep the best, and decide whether to go on; return the validation's numbers, if there was one."""
    recipe, parts, state = run.recipe, run.parts, run.moving.progress
    clock = _Clock(state)
    loss = state.loss / max(1, state.tokens)
    state.epoch, state.position, state.loss, state.tokens = state.epoch + 1, 0, 0.0, 0
    run.trackers.log(
        state.step, {"kind": "epoch", "epoch": state.epoch, "loss": loss, "seconds": state.seconds}
    )
    row: dict[str, float] | None = None
    is_last = state.epoch == sum(phase.epochs for phase in recipe.objective)
    if state.epoch % recipe.validation.every == 0 or is_last:
        with run.moving.average.applied():
            dev_loss = mean_loss(parts.model, parts.dev, parts.compute)
            judgement = parts.judge.judge(parts.model, recipe.search)
            row = {"loss": dev_loss, **judgement.scores.values, "seconds": judgement.seconds}
            is_better = _take_note(state, recipe, row)
            if is_better:
                scores = {"values": judgement.scores.values, "signature": judgement.scores.signature}
                with atomic_directory(run.out / "best") as directory:
                    run.save_captioner(directory, {"scores": scores})
        run.moving.plateau.judge(is_better)
        run.trackers.log(state.step, {"kind": "validation", "epoch": state.epoch, **row})
        shown = ", ".join(f"{name} {100 * row[name]:.2f}" for name in SHOWN_SCORES)
        best = " (best)" if is_better else ""
        run.say(
            f"epoch {state.epoch}: loss {loss:.3f}, {recipe.validation.split} loss {dev_loss:.3f}, {shown}{best}"
        )
        patience = recipe.training.early_stopping
        if patience and state.waited >= patience and not is_last:
            run.say(f"stops early: {state.waited} validations without a better {recipe.validation.metric}")
            state.finished = True
    state.finished = state.finished or is_last
    clock.stop()
    return row


def _step(run: _Run, batch: Batch, phase: CrossEntropy, rate: float) -> dict[str, Any]:
    """Do one optimizer step, count it, and return its numbers."""
    recipe, parts, moving, state = run.recipe, run.parts, run.moving, run.moving.progress
    started = time.monotonic()
    _seed_step(recipe.training.seed, state.step)
    for group in moving.optimizer.param_groups:
        group["lr"] = rate
    batch = batch.to(parts.compute.device)
    with parts.compute.autocast():
        loss, tokens = cross_entropy(
            parts.model, batch, pad_id=parts.tokenizer.pad_id, label_smoothing=phase.label_smoothing
        )
    value = float(loss.detach())
    if not math.isfinite(value):
        raise _cannot_go_on(state, f"a loss of {value}")
    moving.optimizer.zero_grad(set_to_none=True)
    moving.scaler.scale(loss / tokens).backward()  # type: ignore[no-untyped-call]
    moving.scaler.unscale_(moving.optimizer)
    norm = float(nn.utils.clip_grad_norm_(parts.model.parameters(), recipe.optimizer.clip or math.inf))
    # Scaled float16 gradients overflow now and then; the scaler leaves such a step out and scales less.
    if not math.isfinite(norm) and not moving.scaler.is_enabled():
        raise _cannot_go_on(state, f"a gradient norm of {norm}")
    moving.scaler.step(moving.optimizer)
    moving.scaler.update()
    moving.average.update(state.step)
    state.step += 1
    state.position += 1
    state.loss += value
    state.tokens += tokens
    seconds = time.monotonic() - started
    captions = int((batch.tokens[:, :, 0] != parts.tokenizer.pad_id).sum())
    return {
        "loss": value / tokens,
        "lr": rate,
        "grad_norm": norm,
        "captions_per_s": captions / seconds,
        "tokens_per_s": tokens / seconds,
        "device_memory_gb": parts.compute.peak_memory_gb(),
    }


def _cannot_go_on(state: Progress, found: str) -> TrainingError:
    return TrainingError(
        f"training cannot go on at step {state.step + 1}",
        found=found,
        mend="Start again with a smaller --set optimizer.lr, or --set training.precision=fp32",
    )


class _Clock:
    """Adds the time since the last stop to a run's seconds."""

    def __init__(self, state: Progress) -> None:
        self._state, self._started = state, time.monotonic()

    def stop(self) -> None:
        now = time.monotonic()
        self._state.seconds += now - self._started
        self._started = now


def _seed_step(seed: int, step: int) -> None:
    """Make a step's dropout a function of (seed, step) alone, so that going on needs no generator's state."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0] >> 1))


def _take_note(state: Progress, recipe: Recipe, row: dict[str, Any]) -> bool:
    """Compare a validation with the best so far; return whether it is better."""
    value = row[recipe.validation.metric]
    sign = -1.0 if recipe.validation.metric == "loss" else 1.0
    is_better = state.best is None or sign * value > sign * state.best
    if is_better:
        state.best, state.best_epoch, state.waited = value, state.epoch, 0
    else:
        state.waited += 1
    return is_better


def _phase_of(recipe: Recipe, epoch: int) -> tuple[CrossEntropy, int]:
    """Return the phase that an epoch belongs to, and the epoch's number within it."""
    for phase in recipe.objective:
        if epoch < phase.epochs:
            return phase, epoch
        epoch -= phase.epochs
    raise ValueError("past the last phase")


def _build_moving(recipe: Recipe, parts: Parts) -> Moving:
    options, model = recipe.optimizer, parts.model
    trainable = [weight for weight in model.parameters() if weight.requires_grad]
    groups = [
        {
            "params": [weight for weight in trainable if weight.dim() > 1],
            "weight_decay": options.weight_decay,
        },
        {"params": [weight for weight in trainable if weight.dim() <= 1], "weight_decay": 0.0},
    ]
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[options.name]
    return Moving(
        model=model,
        optimizer=kind(groups, lr=options.lr, betas=options.betas),
        scaler=parts.compute.scaler(),
        average=WeightAverage(model, recipe.training.averaging),
        plateau=Plateau(recipe.schedule),
    )


def _count_weights(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def _judge_best(run: _Run) -> Judgement:
    """Let ``best/`` caption the validation split once more, with attention, and keep what it said."""
    recipe, parts, best = run.recipe, run.parts, run.out / "best"
    loaded = load_checkpoint(best, with_encoder=recipe.encoder.trainable, device=parts.compute.device)
    judgement = parts.judge.judge(loaded.model, recipe.search, attention=True)
    write_predictions(best / "predictions.jsonl", parts.prepared, judgement, loaded.tokenizer, loaded.grid)
    return judgement


def _remember_weights(recipe: Recipe, weights: Path | None) -> Recipe:
    if weights is None:
        return recipe
    encoder = recipe.encoder.model_copy(update={"weights": str(weights.resolve())})
    return recipe.model_copy(update={"encoder": encoder})
