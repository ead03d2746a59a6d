"""The state of a training: progress, weights, optimizer, and how it is saved and restored."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from showtell.config.recipe import CrossEntropy, SelfCritical
from showtell.errors import CheckpointError
from showtell.system.atomic import recover_directory, sha256_file, write_json
from showtell.system.safetensors import save_tensors
from showtell.training.ema import WeightAverage
from showtell.training.lr_schedule import ReduceOnPlateau

STATE, TENSORS = "trainer.json", "trainer.safetensors"


@dataclass
class TrainProgress:
    """Where a run stands.

    Attributes:
        step: Optimizer steps done.
        epoch: Epochs done, of all phases together.
        phase: Phases done.
        phase_epoch: Epochs done of the phase under way.
        position: Batches done in the epoch under way.
        best: Best validation so far, in the metric's own scale.
        best_epoch: When that was.
        waited: Validations since then.
        loss: Sum of the loss over the tokens of the epoch under way.
        tokens: How many these were.
        skipped: Steps left out because float16 gradients overflowed.
        seconds: Time spent: extracting features, training, validating.
        finished: Nothing is left to do.
    """

    step: int = 0
    epoch: int = 0
    phase: int = 0
    phase_epoch: int = 0
    position: int = 0
    best: float | None = None
    best_epoch: int = 0
    waited: int = 0
    loss: float = 0.0
    tokens: int = 0
    skipped: int = 0
    seconds: float = 0.0
    finished: bool = False


@dataclass(frozen=True)
class TrainerStateDict:
    """The state of a trainer.

    Attributes:
        tensors: Weights, their average and the optimizer's moments, by name.
        state: JSON values: progress, plateau, scaler.
    """

    tensors: dict[str, Tensor]
    state: dict[str, Any]


@dataclass
class TrainerState:
    """Everything that changes while a run trains, saved and restored as one.

    Attributes:
        model: The network.
        optimizer: Its moments.
        scaler: Of float16 gradients.
        average: Of the weights.
        plateau: How far the rate was lowered.
        progress: Where the run stands.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: WeightAverage
    plateau: ReduceOnPlateau
    progress: TrainProgress = field(default_factory=TrainProgress)

    def reset(self, phase: CrossEntropy | SelfCritical) -> None:
        """Start a phase from the model's weights as they are now: the average, moments and rate forget the past."""
        new_weights = isinstance(phase, CrossEntropy) and phase.reinit
        self.average.reset(init_weight(phase), self.progress.step if new_weights else 0)
        self.optimizer.state.clear()
        self.plateau.reset()

    def snapshot(self) -> TrainerStateDict:
        """Return the state as it is now; its tensors are not copied."""
        tensors = {f"model.{name}": value for name, value in trained_state(self.model).items()}
        tensors |= {f"average.{name}": value for name, value in self.average.average.items()}
        tensors |= {f"start.{name}": value for name, value in self.average.start.items()}
        for name, parameter in _parameters(self.model).items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = value
        state = {
            "progress": asdict(self.progress),
            "interpolate_init": self.average.interpolate_init,
            "first_step": self.average.first_step,
            "plateau": self.plateau.state(),
            "scaler": self.scaler.state_dict(),
        }
        return TrainerStateDict(tensors, state)

    def save(self, directory: Path) -> None:
        """Write the state into the directory of ``last/`` that is being made."""
        saved = self.snapshot()
        save_tensors(saved.tensors, directory / TENSORS)
        write_json(directory / STATE, {**saved.state, "sha256": sha256_file(directory / TENSORS)})

    def read(self, run: Path) -> TrainerStateDict | None:
        """Return what ``last/`` holds, None where there is none.

        Raises:
            CheckpointError: ``last/`` is broken, or gone from a run that has a ``best/``.
        """
        last = run / "last"
        recover_directory(last)
        if not (last / STATE).exists():
            if (run / "best").exists():
                raise CheckpointError(
                    f"{run} cannot be gone on with",
                    found=f"best/ without last/{STATE}",
                    mend="Put last/ back, or start over with --restart; best/ still captions",
                )
            return None
        with _gone_on_from(run):
            state = json.loads((last / STATE).read_text(encoding="utf-8"))
            if sha256_file(last / TENSORS) != state.pop("sha256"):
                raise ValueError(f"{TENSORS} has other bytes than were saved (cut short?)")
            return TrainerStateDict(load_file(last / TENSORS), state)

    def restore(self, saved: TrainerStateDict, run: Path) -> None:
        """Go on from a state that was saved in ``last/`` of a run.

        Raises:
            CheckpointError: it does not fit.
        """
        with _gone_on_from(run):
            share = saved.state.get("interpolate_init", 0.0)  # not in runs of before there was one
            _restore(saved.tensors, self.model, self.average, self.optimizer, share)
            self.average.first_step = saved.state.get("first_step", 0)  # the same
            self.plateau.restore(saved.state["plateau"])
            self.scaler.load_state_dict(saved.state["scaler"])
            self.progress = TrainProgress(**saved.state["progress"])


@contextlib.contextmanager
def _gone_on_from(run: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"{run / 'last'} cannot be gone on from",
            found=" ".join(str(error).split()),
            mend="Caption with best/, or start over with --restart",
        ) from error


def init_weight(phase: CrossEntropy | SelfCritical) -> float:
    """Return the share of a phase's first weights in what is judged."""
    return phase.interpolate_init if isinstance(phase, SelfCritical) else 0.0


def _restore(
    tensors: Mapping[str, Tensor],
    model: nn.Module,
    average: WeightAverage,
    optimizer: torch.optim.Optimizer,
    interpolate_init: float,
) -> None:
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "start": {}, "optimizer": {}}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        parts[kind][rest] = value
    current = trained_state(model)
    with torch.no_grad():
        for name, value in parts["model"].items():
            current[name].copy_(value)
    average.restore(parts["average"], parts["start"], interpolate_init)
    parameters = _parameters(model)
    for name, value in parts["optimizer"].items():
        key, _, weight = name.partition(".")
        parameter = parameters[weight]
        # The step counter stays on the CPU; the moments live beside their weights and in their layout, for the
        # fused step goes through memory without looking at strides.
        beside = value if value.dim() == 0 else torch.empty_like(parameter).copy_(value)
        optimizer.state[parameter][key] = beside.detach()


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """Return what training changes: trainable weights, and the buffers of modules that have any."""
    trainable = {name for name, weight in model.named_parameters() if weight.requires_grad}
    owners = {name.split(".", 1)[0] for name in trainable}
    return {
        name: value
        for name, value in model.state_dict(keep_vars=True).items()
        if name in trainable or (not isinstance(value, nn.Parameter) and name.split(".", 1)[0] in owners)
    }


def _parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
