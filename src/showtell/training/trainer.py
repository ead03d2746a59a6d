"""Training a captioner from a recipe: `train` sets up, `Trainer` fits epoch by epoch, validates and saves."""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from showtell.config.generation import without_retrieval
from showtell.config.recipe import Recipe, SelfCritical
from showtell.errors import EncoderError
from showtell.retrieval.datastore import Datastore
from showtell.retrieval.overlap import check_disjoint, check_unseen
from showtell.system.console import note, progress_bar
from showtell.system.locks import locked_directory
from showtell.training.build import Components, build_components, new_decoder
from showtell.training.caption_checks import check_captions, repetition_warning
from showtell.training.datastore import make_datastore
from showtell.training.device import resolve_device_config
from showtell.training.distributed import distributed_context
from showtell.training.ema import trainable_weights
from showtell.training.evaluator import Evaluation
from showtell.training.lr_schedule import lr_scale
from showtell.training.meters import Stopwatch, ThroughputMeter
from showtell.training.objectives.distillation import TEACHER, load_teacher, save_teacher
from showtell.training.objectives.losses import Objective, build_objective
from showtell.training.predictions import load_evaluation
from showtell.training.run_checkpoints import RunCheckpoints
from showtell.training.run_dir import check_disk_space, open_run
from showtell.training.setup import set_up_training
from showtell.training.tracking import Trackers, require_trackers
from showtell.training.train_step import StepResult, TrainStep, derive_seed
from showtell.training.trainer_state import (
    Snapshot,
    TrainerState,
    TrainProgress,
    build_trainer_state,
    read_state,
)

OnValidation = Callable[[int, dict[str, float]], None]

LOG_STEPS = 20
LOGGED_SCORES = ("BLEU-4", "ROUGE-L", "CIDEr-D")


@dataclass(frozen=True)
class RunResult:
    """The result of a training: the run's directory, its progress, and the evaluation of ``best/``."""

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
    """Train a captioner; the same call resumes an interrupted run.

    Args:
        recipe: What to do, see `showtell.config.recipe`.
        data: A prepared set.
        out: The run's directory.
        encoder_weights: A local file with the encoder's weights; the run stores its path.
        features: Folder of feature caches; None: beside the prepared set.
        device: ``auto``, ``cpu``, ``cuda``...
        include_encoder: Store a frozen encoder in the checkpoints too.
        restart: Discard the run in the directory.
        on_validation: Called after each validation, once ``last/`` is saved, with the epoch (from 1) and the
            validation's numbers (loss, BLEU-1...); an exception ends the run, which can be resumed.

    Raises:
        TrainingError: the loss or its gradient is not finite.
        ShowtellError: bad data, weights or options, a full disk, or another process trains in ``out``. ``best/`` and
            ``last/`` stay as they were.
    """
    require_trackers(recipe.training.trackers)
    compute = resolve_device_config(device, recipe.training.precision, recipe.training.threads)
    with distributed_context(compute.device) as processes, ExitStack() as locks:
        try:
            processes.run_on_rank0(lambda: locks.enter_context(locked_directory(out)))
            # Failures come before the run's directory is touched.
            started = time.monotonic()
            setup = set_up_training(
                recipe,
                data=data,
                out=out,
                compute=compute,
                encoder_weights=encoder_weights,
                restart=restart,
                processes=processes,
            )
            parts = build_components(setup, compute, features, processes)
            state = build_trainer_state(setup.recipe, parts.model, compute.scaler())

            def load_or_create() -> Snapshot:
                open_run(out, setup.recipe, setup.origin, restart=restart)
                return read_state(out) or state.snapshot()

            state.restore(processes.run_on_rank0(load_or_create), out)
            trainer = Trainer(out, setup.recipe, parts, state, include_encoder)
            processes.run_on_rank0(partial(trainer.start, setup.adapted))
            state.progress.seconds += time.monotonic() - started
            return trainer.fit(on_validation)
        except KeyboardInterrupt:
            note("interrupted; run the same command again to resume")
            raise


class Trainer:
    """One run: its components, its state, and where its numbers go."""

    def __init__(
        self, out: Path, recipe: Recipe, parts: Components, state: TrainerState, include_encoder: bool
    ) -> None:
        self.out, self.recipe, self.parts, self.state = out, recipe, parts, state
        self.checkpoints = RunCheckpoints(out, recipe, parts, state, include_encoder=include_encoder)
        self._trackers = Trackers(recipe.training.trackers, resume_step=state.progress.step)
        self._objectives: dict[int, Objective] = {}
        self.train_step = TrainStep(recipe, parts.model, state, parts.compute, parts.processes)

    def start(self, adapted: Sequence[str] = ()) -> None:
        """Check the disk, start the trackers, log what is trained, and make sure that there is a ``last/``.

        ``adapted`` describes the numbers of the recipe that follow the training set.
        """
        parts, progress = self.parts, self.state.progress
        if self.recipe.generation.retrieval != "off":
            check_disjoint(parts.prepared, parts.batches.rows.tolist(), parts.evaluator.rows.tolist())
            if parts.datastore is not None:
                check_unseen(
                    self.recipe.generation, parts.datastore, parts.prepared, parts.evaluator.rows.tolist()
                )
        if not progress.finished:
            check_disk_space(self.out, self.checkpoints.num_bytes())
        self._trackers.start(self.out)
        num_weights = sum(weight.numel() for weight in trainable_weights(parts.model).values())
        world_size = parts.processes.world_size
        together = f" in each of {world_size} processes" if world_size > 1 else ""
        sizes = f"{num_weights:,} trainable weights, {parts.tokenizer.size:,} tokens in the vocabulary"
        self.log_message(f"{self.out}: {parts.compute}{together}; {sizes}")
        if adapted:
            images = f"{len(parts.batches.rows):,} training images"
            self.log_message(f"adapted to {images} and their captions: {'; '.join(adapted)}")
        if progress.step:
            self.log_message(f"resumes after step {progress.step:,}, epoch {progress.epoch}")
        else:
            for warning in check_captions(self.recipe, parts.prepared, parts.batches, parts.dev):
                self.log_message(f"warning: {warning}")
        if not (self.out / "last").exists() or self.checkpoints.lacks_encoder("last"):
            # best/ never exists without last/, and a disk that is too small is noticed at once.
            self.checkpoints.save_last()

    def fit(self, on_validation: OnValidation | None) -> RunResult:
        """Train to the end, and evaluate ``best/``."""
        progress, scores = self.state.progress, None
        try:
            while not progress.finished:
                self.train_epoch()
                row = self.end_epoch()
                if not progress.phase_epoch and not progress.finished:
                    # A phase ended. The next one begins before last/ is saved, since it starts from the best/ of the
                    # ended one, which it may replace before a crash.
                    self.begin_phase()
                self.checkpoints.save_last()
                if row is not None and on_validation is not None:
                    self.parts.processes.run_on_rank0(partial(on_validation, progress.epoch, row))
            clock = Stopwatch(progress)
            evaluation = self.evaluate_best()
            clock.stop()
            scores = evaluation.scores.values
        finally:
            if self.parts.processes.is_main_process:
                self._trackers.finish(scores)
        values = ", ".join(f"{name} {100 * value:.2f}" for name, value in scores.items())
        minutes = f"{progress.seconds / 60:.1f} minutes"
        self.log_message(f"best epoch {progress.best_epoch} of {progress.epoch}, {minutes}: {values}")
        if warning := repetition_warning(evaluation.texts):
            self.log_message(warning)
        return RunResult(self.out, progress, evaluation)

    def begin_phase(self) -> None:
        """Begin a later phase: from the best weights so far, or from new ones with the best as a teacher."""
        number, parts = self.state.progress.phase, self.parts
        phase = self.recipe.objective[number]
        if phase.reinit:
            parts.processes.run_on_rank0(lambda: save_teacher(self.out))
            seed = derive_seed(self.recipe.training.seed, number)
            new = new_decoder(self.recipe.decoder, parts.tokenizer, parts.encoder, seed)
            parts.model.decoder.load_state_dict(new.state_dict())
        else:
            self.checkpoints.restore_best()
        self.state.reset(phase)

    @property
    def objective(self) -> Objective:
        """The current phase's objective, built once: rewards read all training captions."""
        number, parts = self.state.progress.phase, self.parts
        if number not in self._objectives:
            phase, teachers = self.recipe.objective[number], list(parts.teachers[number])
            if phase.reinit:
                path = self.out / TEACHER
                teachers.append(load_teacher(path, parts.tokenizer, parts.encoder, parts.compute.device))
            self._objectives[number] = build_objective(phase, parts.batches, teachers)
        return self._objectives[number]

    def train_epoch(self) -> None:
        """Train on the batches of an epoch, from where the run was interrupted."""
        recipe, parts, progress = self.recipe, self.parts, self.state.progress
        phase, batches = recipe.objective[progress.phase], len(parts.train_batches)
        steps, steps_before = phase.epochs * batches, progress.phase_epoch * batches
        peak = phase.lr if isinstance(phase, SelfCritical) else recipe.optimizer.lr
        clock, meter = Stopwatch(progress), ThroughputMeter()
        parts.model.train()
        with progress_bar(f"epoch {progress.epoch + 1}", batches, unit="batches") as advance:
            advance(progress.batch_in_epoch, "")
            for batch in parts.train_batches.epoch(progress.epoch, start=progress.batch_in_epoch):
                step_in_phase = steps_before + progress.batch_in_epoch
                scale = self.state.plateau.lr_scale * lr_scale(step_in_phase, steps, recipe.schedule)
                lr = peak * scale
                result = self.train_step.step(batch, self.objective, lr)
                meter.add(result)
                if progress.step % LOG_STEPS == 0 or step_in_phase in {0, steps - 1}:
                    rates, meter = meter.rates(), ThroughputMeter()
                    self._log_step(result, lr, rates)
                advance(1, f"loss {progress.loss / max(1, progress.tokens):.3f}")
                if progress.step % recipe.training.save_steps == 0 and progress.batch_in_epoch < batches:
                    clock.stop()
                    self.checkpoints.save_last()
                    parts.model.train()
                    meter = ThroughputMeter()
        clock.stop()

    def end_epoch(self) -> dict[str, float] | None:
        """Validate if it is due, and decide whether the phase is over; return the validation's numbers."""
        recipe, progress = self.recipe, self.state.progress
        clock = Stopwatch(progress)
        loss = progress.loss / max(1, progress.tokens)
        progress.epoch, progress.phase_epoch = progress.epoch + 1, progress.phase_epoch + 1
        progress.batch_in_epoch, progress.loss, progress.tokens = 0, 0.0, 0
        self.log("epoch", {"epoch": progress.epoch, "loss": loss, "elapsed_s": progress.seconds})
        is_over = progress.phase_epoch == recipe.objective[progress.phase].epochs
        row = None
        if progress.epoch % recipe.validation.every == 0 or is_over:
            row = self.validate(loss)
            patience = recipe.training.early_stopping_patience
            if patience and progress.bad_validations >= patience and not is_over:
                waited = f"{progress.bad_validations} validations without a better {recipe.validation.metric}"
                self.log_message(f"stops early: {waited}")
                is_over = True
        if is_over:
            progress.phase, progress.phase_epoch, progress.bad_validations = progress.phase + 1, 0, 0
            progress.finished = progress.phase == len(recipe.objective)
        clock.stop()
        return row

    def validate(self, train_loss: float) -> dict[str, float]:
        """Evaluate the averaged weights, save them if they are the best so far, and return the numbers."""
        recipe, parts, progress = self.recipe, self.parts, self.state.progress
        with self.state.ema.applied():
            try:
                dev_loss = parts.evaluator.loss(parts.model, parts.dev, recipe.training.micro_batch_size)
            except EncoderError as error:
                if not recipe.encoder.trainable:
                    raise
                raise self.train_step.divergence_error(f"features of the encoder: {error.found}") from error
            if not math.isfinite(dev_loss):
                raise self.train_step.divergence_error(f"a validation loss of {dev_loss}")
            # The datastore is made at the end, of a captioner that is chosen without it.
            evaluation = parts.evaluator.evaluate(parts.model, without_retrieval(recipe.generation))
            row = {"loss": dev_loss, **evaluation.scores.values, "eval_s": evaluation.seconds}
            score = row[recipe.validation.metric]
            is_better = self._record(score, dev_loss)
            if is_better:
                self.checkpoints.save_best(evaluation)
        if is_better or not self._is_zero_tie(score):
            self.state.plateau.update(is_better)
        self.log("validation", {"epoch": progress.epoch, **row})
        shown = ", ".join(f"{name} {100 * row[name]:.2f}" for name in LOGGED_SCORES)
        self.log_message(
            f"epoch {progress.epoch}: loss {train_loss:.3f}, {recipe.validation.split} loss {dev_loss:.3f}, {shown}"
            + (" (best)" if is_better else "")
        )
        return row

    def _record(self, score: float, loss: float) -> bool:
        """Compare a validation with the best so far; return whether it is better: of equal scores, the lower loss.

        With ``validation.select: last`` each one is.
        """
        progress, sign = self.state.progress, -1.0 if self.recipe.validation.metric == "loss" else 1.0
        best_loss = math.inf if progress.best_loss is None else progress.best_loss
        is_better = (
            self.recipe.validation.select == "last"
            or progress.best_score is None
            or (sign * score, -loss) > (sign * progress.best_score, -best_loss)
        )
        if is_better:
            progress.best_score, progress.best_loss = score, loss
            progress.best_epoch, progress.bad_validations = progress.epoch, 0
        elif not self._is_zero_tie(score):
            progress.bad_validations += 1
        return is_better

    def _is_zero_tie(self, score: float) -> bool:
        """Whether a score is 0 and none was better: few images, or an early epoch, not a lack of improvement."""
        return score == 0.0 == self.state.progress.best_score

    def evaluate_best(self) -> Evaluation:
        """Evaluate ``best/`` with attention and store the result in it, unless it has one."""
        best, parts, on_rank0 = self.out / "best", self.parts, self.parts.processes.run_on_rank0
        evaluation = on_rank0(lambda: load_evaluation(best, parts.prepared))
        if evaluation is None:
            self.checkpoints.restore_best()
            datastore = on_rank0(self._make_datastore)
            evaluator = replace(parts.evaluator, datastore=datastore)
            evaluation = evaluator.evaluate(parts.model, self.recipe.generation, attention=True)
            if datastore is None:
                on_rank0(partial(self.checkpoints.save_evaluation, best, evaluation))
            else:
                on_rank0(partial(self.checkpoints.rewrite_best, evaluation, datastore))
        if self.checkpoints.lacks_encoder("best"):
            on_rank0(partial(self.checkpoints.rewrite_best, evaluation, None))
        return evaluation

    def _make_datastore(self) -> Datastore | None:
        """Return the datastore of the training images, if the recipe's captions are reranked by one.

        They are added to the datastore of the captioner that training started from.
        """
        parts, generation = self.parts, self.recipe.generation
        if generation.retrieval == "off":
            return None
        old = parts.datastore
        datastore = make_datastore(
            parts.prepared,
            parts.batches.rows,
            model=parts.model,
            encoder=parts.encoder,
            tokenizer=parts.tokenizer,
            device=parts.compute.device,
            features=parts.features,
            projection=None if old is None else old.projection,
        )
        if old is not None:
            datastore = old.merged(datastore)
        self.log_message(datastore.describe())
        return datastore

    def log(self, event: str, row: Mapping[str, Any]) -> None:
        """Send the numbers of a step, an epoch or a validation to the trackers."""
        if self.parts.processes.is_main_process:
            self._trackers.log(self.state.progress.step, {"event": event, **row})

    def log_message(self, line: str) -> None:
        """Print a line on stderr and append it to ``log.txt``."""
        if not self.parts.processes.is_main_process:
            return
        note(line)
        with (self.out / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    def _log_step(self, result: StepResult, lr: float, rates: Mapping[str, float]) -> None:
        sums, tokens = Counter[str](), max(1, result.num_tokens)
        for part in self.parts.processes.gather(result.sums):
            sums.update(part)
        row = {
            "epoch": self.state.progress.epoch + 1,
            "loss": result.loss / tokens,
            **{name: value / tokens for name, value in sums.items()},
            "lr": lr,
            "grad_norm": result.norm,
            **rates,
            "peak_memory_gb": self.parts.compute.peak_memory_gb(),
        }
        if self.state.scaler.is_enabled():
            row["loss_scale"] = self.state.scaler.get_scale()
            row["skipped_steps"] = self.state.progress.skipped
        self.log("step", row)
