"""A run under way: what it is made of, what it writes and says, and the clocks that are held beside it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from showtell.checkpoints.checkpoint import save_checkpoint
from showtell.checkpoints.hub import ENCODER
from showtell.config.recipe import CrossEntropy, Recipe
from showtell.system.atomic import atomic_directory
from showtell.system.console import note
from showtell.training.best import restore_best
from showtell.training.build import Components, new_decoder
from showtell.training.distillation import TEACHER, load_teacher, save_teacher
from showtell.training.losses import Objective, build_objective
from showtell.training.tracking import Trackers
from showtell.training.train_step import StepResult, TrainStep
from showtell.training.trainer_state import TrainerState, TrainProgress


@dataclass(frozen=True)
class TrainingRun:
    """A run under way: what it is made of, where it stands, where its numbers go."""

    out: Path
    recipe: Recipe
    parts: Components
    moving: TrainerState
    include_encoder: bool

    @cached_property
    def _trackers(self) -> Trackers:
        return Trackers(self.recipe.training.trackers, resume_step=self.moving.progress.step)

    @cached_property
    def stepper(self) -> TrainStep:
        """Does its steps."""
        parts = self.parts
        return TrainStep(
            self.recipe, parts.model, self.moving, parts.compute, parts.processes, parts.tokenizer.pad_id
        )

    @cached_property
    def _objectives(self) -> dict[int, Objective]:
        return {}

    @property
    def objective(self) -> Objective:
        """What the phase under way makes small; built once, for rewards count all training captions."""
        number, parts = self.moving.progress.phase, self.parts
        if number not in self._objectives:
            phase, models = self.recipe.objective[number], list(parts.teachers[number])
            if isinstance(phase, CrossEntropy) and phase.reinit:
                own = load_teacher(self.out / TEACHER, parts.tokenizer, parts.encoder, parts.compute.device)
                models.append(own)
            self._objectives[number] = build_objective(phase, parts.batches, models)
        return self._objectives[number]

    def begin_phase(self) -> None:
        """Begin a phase after the first: from the best weights so far, or from new ones that the best will teach."""
        number, parts = self.moving.progress.phase, self.parts
        phase = self.recipe.objective[number]
        if isinstance(phase, CrossEntropy) and phase.reinit:
            parts.processes.broadcast_from_rank0(lambda: save_teacher(self.out))
            new = new_decoder(self.recipe, parts.tokenizer, parts.encoder, number)
            parts.model.decoder.load_state_dict(new.state_dict())
        else:
            restore_best(self.out / "best", self.recipe, parts)
        self.moving.reset(phase)

    def start(self) -> None:
        """Start the trackers, say what is about to happen, and make sure that there is a ``last/``."""
        parts, state = self.parts, self.moving.progress
        self._trackers.start(self.out)
        weights = sum(weight.numel() for weight in parts.model.parameters() if weight.requires_grad)
        together = f" in each of {parts.processes.count} processes" if parts.processes.count > 1 else ""
        self.say(
            f"{self.out}: {parts.compute}{together}; {weights:,} weights to train, {parts.tokenizer.size:,} tokens"
        )
        if state.step:
            self.say(f"goes on after step {state.step:,}, epoch {state.epoch}")
        kept = self.out / "last" / ENCODER
        if not kept.parent.exists() or (self.include_encoder and not kept.exists()):
            # So that best/ never stands without last/, and a place that is too small is known at once.
            self.save_last()

    def finish(self, scores: dict[str, float] | None) -> None:
        """Finish the trackers."""
        if self.parts.processes.is_main_process:
            self._trackers.finish(scores)

    def log(self, kind: str, row: Mapping[str, Any]) -> None:
        """Give the numbers of a step, an epoch or a validation to the trackers."""
        if self.parts.processes.is_main_process:
            self._trackers.log(self.moving.progress.step, {"kind": kind, **row})

    def say(self, line: str) -> None:
        """Say a line on stderr and keep it in ``log.txt``."""
        if not self.parts.processes.is_main_process:
            return
        note(line)
        with (self.out / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    def save_last(self) -> None:
        """Write ``last/``: the averaged weights as a captioner, and all that is needed to go on."""
        if not self.parts.processes.is_main_process:
            return
        with atomic_directory(self.out / "last") as directory:
            with self.moving.average.applied():
                self.save_captioner(directory, {})
            self.moving.save(directory)

    def save_captioner(self, directory: Path, about: dict[str, Any]) -> None:
        """Write a checkpoint of the model's weights as they are now."""
        parts = self.parts
        data = {
            "name": parts.prepared.manifest.get("name") or parts.prepared.directory.name,
            "format": parts.prepared.manifest["source"]["format"],
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
            generation=self.recipe.generation,
            about={"recipe": self.recipe.model_dump(mode="json"), "data": data, **about},
        )


class ThroughputMeter:
    """Counts captions and tokens by the second, from one logged step to the next."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget what was counted."""
        self._started, self._captions, self._tokens = time.monotonic(), 0, 0

    def add(self, done: StepResult) -> None:
        """Take in a step."""
        self._captions += done.captions
        self._tokens += done.weight

    def take(self) -> dict[str, float]:
        """Return the pace, and begin anew."""
        seconds = time.monotonic() - self._started
        pace = {"captions_per_s": self._captions / seconds, "tokens_per_s": self._tokens / seconds}
        self.restart()
        return pace


class Stopwatch:
    """Adds the time since the last stop, or since a moment, to a run's seconds."""

    def __init__(self, state: TrainProgress, started: float | None = None) -> None:
        self._state, self._started = state, time.monotonic() if started is None else started

    def stop(self) -> None:
        now = time.monotonic()
        self._state.seconds += now - self._started
        self._started = now
