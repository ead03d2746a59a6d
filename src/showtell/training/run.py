"""A run's directory: who it is, and what is needed to go on after a crash at any moment.

``last/`` is a checkpoint that captions (averaged weights) and beside it the trainer's state: raw weights, average,
optimizer moments, counters. Everything random is a function of (seed, step), so no generator needs saving, and a run
that was killed and started again ends with the same bits as one that was not (on CPU, same threads).
"""

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

from showtell.data.prepared import PreparedSet
from showtell.errors import CheckpointError, ConfigError
from showtell.files import (
    atomic_directory,
    read_manifest,
    recover_directory,
    sha256_file,
    write_json,
    write_manifest,
    write_text,
)
from showtell.models.encoder import Encoder
from showtell.models.tensors import save_tensors
from showtell.recipes.schema import CrossEntropy, Recipe, SelfCritical, dump_recipe, parse_recipe
from showtell.training.averaging import WeightAverage
from showtell.training.schedules import Plateau
from showtell.training.start import start_identity
from showtell.training.teaching import teacher_identities

KIND, FORMAT = "showtell run", 1
STATE, TENSORS = "trainer.json", "trainer.safetensors"

# Keys that change neither the weights nor the order of events. Where the encoder's weights lie may change; what
# they are may not: that is the origin's ``encoder.weights``, a SHA-256. So with the captioner started from.
FREE_KEYS = {
    "recipe.training.trackers",
    "recipe.training.save_steps",
    "recipe.training.start",
    "recipe.encoder.weights",
}


@dataclass
class Progress:
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


def origin_of(recipe: Recipe, prepared: PreparedSet, encoder: Encoder) -> dict[str, Any]:
    """Return what a run is made from beside its recipe: data, encoder, the decoder it starts from, its teachers.

    Raises:
        CheckpointError: ``training.start`` or a teacher is no captioner.
    """
    origin = {
        "data": {"fingerprint": prepared.fingerprint},
        "encoder": encoder.identity(),
        "start": start_identity(recipe),
    }
    teachers = teacher_identities(recipe)
    return origin | {"teachers": teachers} if teachers else origin


def check_run(directory: Path, recipe: Recipe, origin: Mapping[str, Any], *, restart: bool) -> bool:
    """Return whether a directory holds this very run, to be gone on with; change nothing.

    Args:
        directory: The run.
        recipe: Its resolved recipe.
        origin: What else it is made from, see `origin_of`.
        restart: What is there does not matter, if only it is a run.

    Raises:
        ConfigError: the run there has another recipe, data or encoder; each difference is named.
        DataError: something else is there.
    """
    recover_directory(directory)
    if not directory.exists() or not any(directory.iterdir()):
        return False
    found = read_manifest(directory, KIND, FORMAT)
    if restart:
        return False
    changed = differences(_as_of_now(found), json.loads(json.dumps(_manifest(recipe, origin))))
    if changed:
        raise ConfigError(
            f"{directory} holds another run",
            found="; ".join(changed),
            mend="Choose another -o, or start over with --restart",
        )
    return True


def open_run(directory: Path, recipe: Recipe, origin: Mapping[str, Any], *, restart: bool) -> None:
    """Make a run's directory, unless the one there is the same run and can be gone on with.

    A run that is started over stands beside, whole, until the new one has its manifest.

    Args:
        directory: The run.
        recipe: Its resolved recipe.
        origin: What else it is made from, see `origin_of`.
        restart: Throw away what is there (only if it is a run).

    Raises:
        ConfigError: the run there has another recipe, data or encoder; each difference is named.
        DataError: something else is there, or the place cannot be written.
    """
    if check_run(directory, recipe, origin, restart=restart):
        return
    if directory.exists() and not any(directory.iterdir()):
        # A place that was made for the run may be one that cannot be renamed, such as a mount.
        _begin(directory, recipe, origin)
        return
    with atomic_directory(directory) as fresh:
        _begin(fresh, recipe, origin)


def _begin(directory: Path, recipe: Recipe, origin: Mapping[str, Any]) -> None:
    write_text(directory / "recipe.yaml", dump_recipe(recipe))
    write_manifest(directory, KIND, FORMAT, _manifest(recipe, origin))


def _manifest(recipe: Recipe, origin: Mapping[str, Any]) -> dict[str, Any]:
    return {"recipe": recipe.model_dump(mode="json"), **origin}


def _as_of_now(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest whose recipe has the keys that came later too: their defaults are what was done before."""
    try:
        recipe = parse_recipe(manifest["recipe"], "the run's recipe")
    except (KeyError, ConfigError):
        return dict(manifest)
    return {**manifest, "recipe": recipe.model_dump(mode="json")}


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Return each key in which two manifests differ, less those that change neither weights nor order."""
    if path in FREE_KEYS:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [key for key in old | new if path or key not in {"kind", "format"}]
        return [
            line
            for key in keys
            for line in differences(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
        ]
    return [] if old == new else [f"{path} was {old}, is {new}"]


@dataclass(frozen=True)
class Saved:
    """The state of a trainer.

    Attributes:
        tensors: Weights, their average and the optimizer's moments, by name.
        state: JSON values: progress, plateau, scaler.
    """

    tensors: dict[str, Tensor]
    state: dict[str, Any]


@dataclass
class Moving:
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
    plateau: Plateau
    progress: Progress = field(default_factory=Progress)

    def begin_anew(self, phase: CrossEntropy | SelfCritical) -> None:
        """Start a phase from the model's weights as they are now: the average, moments and rate forget the past."""
        new_weights = isinstance(phase, CrossEntropy) and phase.anew
        self.average.begin_anew(start_share_of(phase), self.progress.step if new_weights else 0)
        self.optimizer.state.clear()
        self.plateau.begin_anew()

    def snapshot(self) -> Saved:
        """Return the state as it is now; its tensors are not copied."""
        tensors = {f"model.{name}": value for name, value in trained_state(self.model).items()}
        tensors |= {f"average.{name}": value for name, value in self.average.average.items()}
        tensors |= {f"start.{name}": value for name, value in self.average.start.items()}
        for name, parameter in _parameters(self.model).items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = value
        state = {
            "progress": asdict(self.progress),
            "start_share": self.average.start_share,
            "first_step": self.average.first_step,
            "plateau": self.plateau.state(),
            "scaler": self.scaler.state_dict(),
        }
        return Saved(tensors, state)

    def save(self, directory: Path) -> None:
        """Write the state into the directory of ``last/`` that is being made."""
        saved = self.snapshot()
        save_tensors(saved.tensors, directory / TENSORS)
        write_json(directory / STATE, {**saved.state, "sha256": sha256_file(directory / TENSORS)})

    def read(self, run: Path) -> Saved | None:
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
            return Saved(load_file(last / TENSORS), state)

    def restore(self, saved: Saved, run: Path) -> None:
        """Go on from a state that was saved in ``last/`` of a run.

        Raises:
            CheckpointError: it does not fit.
        """
        with _gone_on_from(run):
            share = saved.state.get("start_share", 0.0)  # not in runs of before there was one
            _restore(saved.tensors, self.model, self.average, self.optimizer, share)
            self.average.first_step = saved.state.get("first_step", 0)  # the same
            self.plateau.restore(saved.state["plateau"])
            self.scaler.load_state_dict(saved.state["scaler"])
            self.progress = Progress(**saved.state["progress"])


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


def start_share_of(phase: CrossEntropy | SelfCritical) -> float:
    """Return the share of a phase's first weights in what is judged."""
    return phase.start_share if isinstance(phase, SelfCritical) else 0.0


def _restore(
    tensors: Mapping[str, Tensor],
    model: nn.Module,
    average: WeightAverage,
    optimizer: torch.optim.Optimizer,
    start_share: float,
) -> None:
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "start": {}, "optimizer": {}}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        parts[kind][rest] = value
    current = trained_state(model)
    with torch.no_grad():
        for name, value in parts["model"].items():
            current[name].copy_(value)
    average.restore(parts["average"], parts["start"], start_share)
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
