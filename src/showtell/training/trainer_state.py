"""The state of a training: progress, weights, optimizer, and how it is saved and restored."""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from showtell.config.recipe import OptimizerOptions, Phase, Recipe
from showtell.errors import CheckpointError
from showtell.system.atomic import recover_directory, sha256_file, write_summed_json
from showtell.system.reading import read_json
from showtell.system.safetensors import save_tensors
from showtell.training.ema import WeightAverage, trainable_weights
from showtell.training.lr_schedule import ReduceOnPlateau

STATE, TENSORS = "trainer.json", "trainer.safetensors"


Snapshot = tuple[dict[str, Tensor], dict[str, Any]]
"""Weights, their average and the optimizer's moments by name; and JSON values: progress, plateau, scaler."""


@dataclass
class TrainProgress:
    """How far a run is."""

    step: int = 0  # optimizer steps done
    epoch: int = 0  # epochs done, over all phases
    phase: int = 0  # phases done
    phase_epoch: int = 0  # epochs done in the current phase
    batch_in_epoch: int = 0  # batches done in the current epoch
    best_score: float | None = None  # best validation so far, in the metric's own scale
    best_loss: float | None = None  # validation loss at that best score
    best_epoch: int = 0
    bad_validations: int = 0  # validations since the best one
    loss: float = 0.0  # summed over the tokens of the current epoch
    tokens: int = 0
    skipped: int = 0  # steps skipped because float16 gradients overflowed
    seconds: float = 0.0  # time of feature extraction, training and validation
    finished: bool = False


@dataclass
class TrainerState:
    """Everything that changes in a training, saved and restored together."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema: WeightAverage
    plateau: ReduceOnPlateau
    progress: TrainProgress = field(default_factory=TrainProgress)

    def reset(self, phase: Phase) -> None:
        """Start a phase from the model's current weights: reset average, moments and learning rate."""
        self.ema.reset(phase.interpolate_init, self.progress.step if phase.reinit else 0)
        self.optimizer.state.clear()
        self.plateau.reset()

    def snapshot(self) -> Snapshot:
        """Return the current state; its tensors are not copied."""
        tensors = {f"model.{name}": value for name, value in trained_state(self.model).items()}
        tensors |= {f"ema.{name}": value for name, value in self.ema.average.items()}
        tensors |= {f"initial.{name}": value for name, value in self.ema.initial.items()}
        for name, parameter in trainable_weights(self.model).items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = value
        values = {
            "progress": asdict(self.progress),
            "init_weight": self.ema.init_weight,
            "first_step": self.ema.first_step,
            "plateau": self.plateau.state(),
            "scaler": self.scaler.state_dict(),
        }
        return tensors, values

    def save(self, directory: Path) -> None:
        """Write the state into the directory of a new ``last/``."""
        tensors, values = self.snapshot()
        save_tensors(tensors, directory / TENSORS)
        write_summed_json(directory / STATE, {**values, "sha256": sha256_file(directory / TENSORS)})

    def restore(self, saved: Snapshot, run: Path) -> None:
        """Restore a state from ``last/`` of a run; a CheckpointError says why it does not fit."""
        tensors, values = saved
        with _errors_of(run):
            parts: dict[str, dict[str, Tensor]] = {"model": {}, "ema": {}, "initial": {}, "optimizer": {}}
            for name, value in tensors.items():
                kind, _, rest = name.partition(".")
                parts[kind][rest] = value
            current, weights = trained_state(self.model), trainable_weights(self.model)
            with torch.no_grad():
                for name, value in parts["model"].items():
                    current[name].copy_(value)
            self.ema.restore(parts["ema"], parts["initial"], values["init_weight"])
            self.ema.first_step = values["first_step"]
            for name, value in parts["optimizer"].items():
                key, _, weight = name.partition(".")
                # The step counter stays on the CPU; moments are on their weight's device and in its memory layout,
                # since the fused step ignores strides.
                moved = value if value.dim() == 0 else torch.empty_like(weights[weight]).copy_(value)
                self.optimizer.state[weights[weight]][key] = moved.detach()
            self.plateau.restore(values["plateau"])
            self.scaler.load_state_dict(values["scaler"])
            self.progress = TrainProgress(**values["progress"])


def read_state(run: Path) -> Snapshot | None:
    """Return the state in ``last/`` of a run, None without one.

    Raises:
        CheckpointError: ``last/`` is broken, or missing in a run that has a ``best/``.
    """
    last = run / "last"
    recover_directory(last)
    if not (last / STATE).exists():
        if (run / "best").exists():
            raise CheckpointError(
                f"cannot resume {run}",
                found=f"best/ without last/{STATE}",
                mend="Put last/ back, or start over with --restart; best/ still captions",
            )
        return None
    with _errors_of(run):
        values = read_json(last / STATE)
        if sha256_file(last / TENSORS) != values.pop("sha256"):
            raise ValueError(f"{TENSORS} has other bytes than were saved (cut short?)")
        return load_file(last / TENSORS), values


@contextlib.contextmanager
def _errors_of(run: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"cannot resume from {run / 'last'}",
            found=" ".join(str(error).split()),
            mend="Caption with best/, or start over with --restart",
        ) from error


def build_trainer_state(recipe: Recipe, model: nn.Module, scaler: torch.amp.GradScaler) -> TrainerState:
    """Return the state at the start of a training."""
    return TrainerState(
        model=model,
        optimizer=build_optimizer(recipe.optimizer, model),
        scaler=scaler,
        ema=WeightAverage(model, recipe.training.ema_decay, recipe.objective[0].interpolate_init),
        plateau=ReduceOnPlateau(recipe.schedule),
    )


def build_optimizer(options: OptimizerOptions, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer of the trainable weights; matrices decay, vectors do not."""
    trainable = trainable_weights(model).values()
    matrices = [weight for weight in trainable if weight.dim() > 1]
    vectors = [weight for weight in trainable if weight.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": options.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[options.name]
    # One pass over each weight; the results differ from the plain form's in the last bit only.
    fused = all(weight.device.type in ("cpu", "cuda") for weight in trainable)
    optimizer: torch.optim.Optimizer = kind(groups, lr=options.lr, betas=options.betas, fused=fused)
    return optimizer


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """Return what training changes: trainable weights, and the buffers of parts that have any."""
    trainable = trainable_weights(model)
    owners = {name.split(".", 1)[0] for name in trainable}
    return {
        name: value
        for name, value in model.state_dict(keep_vars=True).items()
        if name in trainable or (not isinstance(value, nn.Parameter) and name.split(".", 1)[0] in owners)
    }
