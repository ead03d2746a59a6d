"""Training a captioner: from a recipe to a run that is finished, epoch by epoch."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from showtell.config.recipe import Recipe, SelfCritical
from showtell.data.prepared import PreparedSet
from showtell.system.atomic import atomic_directory
from showtell.system.console import progress
from showtell.training.best import evaluate_best
from showtell.training.build import Components, build_components, build_encoder_of, resolve_device
from showtell.training.device import DeviceConfig
from showtell.training.distributed import DistributedContext, distributed_context
from showtell.training.ema import WeightAverage
from showtell.training.evaluator import Evaluation, validation_loss
from showtell.training.lr_schedule import ReduceOnPlateau, lr_scale
from showtell.training.run_dir import check_run, open_run, provenance
from showtell.training.run_io import Stopwatch, ThroughputMeter, TrainingRun
from showtell.training.tracking import require_trackers
from showtell.training.train_step import StepResult
from showtell.training.trainer_state import TrainerState, TrainerStateDict, TrainProgress, init_weight

OnValidation = Callable[[int, dict[str, float]], None]

LOG_STEPS = 20
SHOWN_SCORES = ("BLEU-4", "ROUGE-L", "CIDEr-D")


@dataclass(frozen=True)
class RunResult:
    """What a training came to.

    Attributes:
        directory: The run.
        progress: Where it ended.
        evaluation: Of ``best/`` on the validation split.
    """

    directory: Path
    progress: TrainProgress
    evaluation: Evaluation


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
        recipe: What to do, see `showtell.config.recipe`.
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
    compute = resolve_device(recipe, device)
    with distributed_context(compute.device) as processes:
        run = _setup(
            recipe, data, out, encoder_weights, features, compute, processes, include_encoder, restart
        )
        return _summarize(run, _fit(run, on_validation))


def _setup(
    recipe: Recipe,
    data: Path,
    out: Path,
    encoder_weights: Path | None,
    features: Path | None,
    compute: DeviceConfig,
    processes: DistributedContext,
    include_encoder: bool,
    restart: bool,
) -> TrainingRun:
    """Build all that a run needs and open its directory; all that can fail comes before that is touched."""
    started = time.monotonic()
    prepared = PreparedSet.load(data)
    recipe = _remember_weights(recipe, encoder_weights)
    encoder = build_encoder_of(recipe, encoder_weights, compute)
    origin = provenance(recipe, prepared, encoder)
    processes.broadcast_from_rank0(lambda: check_run(out, recipe, origin, restart=restart))
    parts = build_components(recipe, prepared, encoder, compute, features, processes)
    moving = build_trainer_state(recipe, parts)

    def load_or_create() -> TrainerStateDict:
        open_run(out, recipe, origin, restart=restart)
        return moving.read(out) or moving.snapshot()

    moving.restore(processes.broadcast_from_rank0(load_or_create), out)
    run = TrainingRun(out, recipe, parts, moving, include_encoder)
    processes.broadcast_from_rank0(run.start)
    Stopwatch(moving.progress, started).stop()
    return run


def _fit(run: TrainingRun, on_validation: OnValidation | None) -> Evaluation:
    """Train to the end, and judge what was best."""
    state, best, scores = run.moving.progress, run.out / "best", None
    try:
        while not state.finished:
            _train_epoch(run)
            row = _end_epoch(run)
            if not state.phase_epoch and not state.finished:
                # A new phase. Here, not where it starts: after a crash there, best/ may already be one of its own.
                run.begin_phase()
            run.save_last()
            if row is not None and on_validation is not None:
                run.parts.processes.broadcast_from_rank0(partial(on_validation, state.epoch, row))
        clock = Stopwatch(state)
        evaluation = evaluate_best(best, run.recipe, run.parts, include_encoder=run.include_encoder)
        clock.stop()
        scores = evaluation.scores.values
        return evaluation
    finally:
        run.finish(scores)


def _summarize(run: TrainingRun, evaluation: Evaluation) -> RunResult:
    state, scores = run.moving.progress, evaluation.scores
    values = ", ".join(f"{name} {100 * value:.2f}" for name, value in scores.values.items())
    run.say(f"best epoch {state.best_epoch} of {state.epoch}, {state.seconds / 60:.1f} minutes: {values}")
    return RunResult(run.out, state, evaluation)


def _train_epoch(run: TrainingRun) -> None:
    """Go through the batches of an epoch, from where it was left."""
    recipe, parts, state = run.recipe, run.parts, run.moving.progress
    phase = recipe.objective[state.phase]
    steps, steps_before = phase.epochs * len(parts.batches), state.phase_epoch * len(parts.batches)
    peak = phase.lr if isinstance(phase, SelfCritical) else recipe.optimizer.lr
    clock, pace = Stopwatch(state), ThroughputMeter()
    parts.model.train()
    with progress(f"epoch {state.epoch + 1}", len(parts.batches), unit="batches") as advance:
        advance(state.position, "")
        for batch in parts.batches.epoch(state.epoch, start=state.position):
            share = run.moving.plateau.share * lr_scale(steps_before + state.position, steps, recipe.schedule)
            rate = peak * share
            done = run.stepper.step(batch, run.objective, rate)
            pace.add(done)
            if state.step % LOG_STEPS == 0:
                _log_step(run, done, rate, pace)
            advance(1, f"loss {state.loss / max(1, state.tokens):.3f}")
            if state.step % recipe.training.save_steps == 0 and state.position < len(parts.batches):
                clock.stop()
                run.save_last()
                parts.model.train()
                pace.restart()
    clock.stop()


def _log_step(run: TrainingRun, done: StepResult, rate: float, pace: ThroughputMeter) -> None:
    sums = Counter[str]()
    for part in run.parts.processes.gather(done.parts):
        sums.update(part)
    row = {
        "epoch": run.moving.progress.epoch + 1,
        "loss": done.loss / max(1, done.weight),
        **{name: value / max(1, done.weight) for name, value in sums.items()},
        "lr": rate,
        "grad_norm": done.norm,
        **pace.take(),
        "device_memory_gb": run.parts.compute.peak_memory_gb(),
    }
    if run.moving.scaler.is_enabled():
        row |= {"scale": run.moving.scaler.get_scale(), "skipped_steps": run.moving.progress.skipped}
    run.log("step", row)


def _end_epoch(run: TrainingRun) -> dict[str, float] | None:
    """Validate, keep the best, and decide whether to go on; return the validation's numbers, if there was one."""
    recipe, parts, state = run.recipe, run.parts, run.moving.progress
    clock = Stopwatch(state)
    loss = state.loss / max(1, state.tokens)
    state.epoch, state.position, state.loss, state.tokens = state.epoch + 1, 0, 0.0, 0
    state.phase_epoch += 1
    run.log("epoch", {"epoch": state.epoch, "loss": loss, "seconds": state.seconds})
    row: dict[str, float] | None = None
    is_over = state.phase_epoch == recipe.objective[state.phase].epochs
    if state.epoch % recipe.validation.every == 0 or is_over:
        with run.moving.average.applied():
            at_once = recipe.training.micro_batch_size
            dev_loss = validation_loss(
                parts.model, parts.dev, parts.compute, at_once=at_once, processes=parts.processes
            )
            evaluation = parts.evaluator.evaluate(parts.model, recipe.generation)
            row = {"loss": dev_loss, **evaluation.scores.values, "seconds": evaluation.seconds}
            is_better = _take_note(state, recipe, row)
            if is_better and parts.processes.is_main_process:
                scores = {"values": evaluation.scores.values, "signature": evaluation.scores.signature}
                with atomic_directory(run.out / "best") as directory:
                    run.save_captioner(directory, {"scores": scores})
        run.moving.plateau.update(is_better)
        run.log("validation", {"epoch": state.epoch, **row})
        shown = ", ".join(f"{name} {100 * row[name]:.2f}" for name in SHOWN_SCORES)
        best = " (best)" if is_better else ""
        run.say(
            f"epoch {state.epoch}: loss {loss:.3f}, {recipe.validation.split} loss {dev_loss:.3f}, {shown}{best}"
        )
        patience = recipe.training.early_stopping_patience
        if patience and state.waited >= patience and not is_over:
            run.say(f"stops early: {state.waited} validations without a better {recipe.validation.metric}")
            is_over = True
    if is_over:
        state.phase, state.phase_epoch, state.waited = state.phase + 1, 0, 0
        state.finished = state.phase == len(recipe.objective)
    clock.stop()
    return row


def _take_note(state: TrainProgress, recipe: Recipe, row: dict[str, float]) -> bool:
    """Compare a validation with the best so far; return whether it is better."""
    value = row[recipe.validation.metric]
    sign = -1.0 if recipe.validation.metric == "loss" else 1.0
    is_better = state.best is None or sign * value > sign * state.best
    if is_better:
        state.best, state.best_epoch, state.waited = value, state.epoch, 0
    else:
        state.waited += 1
    return is_better


def build_optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """Return a recipe's optimizer of the weights that are trained; matrices decay, vectors do not."""
    options = recipe.optimizer
    trainable = [weight for weight in model.parameters() if weight.requires_grad]
    groups = [
        {
            "params": [weight for weight in trainable if weight.dim() > 1],
            "weight_decay": options.weight_decay,
        },
        {"params": [weight for weight in trainable if weight.dim() <= 1], "weight_decay": 0.0},
    ]
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[options.name]
    # One pass over each weight; its numbers are those of the plain form but for the last bit.
    fused = all(weight.device.type in ("cpu", "cuda") for weight in trainable)
    optimizer: torch.optim.Optimizer = kind(groups, lr=options.lr, betas=options.betas, fused=fused)
    return optimizer


def build_trainer_state(recipe: Recipe, parts: Components) -> TrainerState:
    """Return what a step changes, as it is at the start."""
    model = parts.model
    return TrainerState(
        model=model,
        optimizer=build_optimizer(recipe, model),
        scaler=parts.compute.scaler(),
        average=WeightAverage(model, recipe.training.ema_decay, init_weight(recipe.objective[0])),
        plateau=ReduceOnPlateau(recipe.schedule),
    )


def _remember_weights(recipe: Recipe, weights: Path | None) -> Recipe:
    if weights is None:
        return recipe
    encoder = recipe.encoder.model_copy(update={"weights": str(weights.resolve())})
    return recipe.model_copy(update={"encoder": encoder})
