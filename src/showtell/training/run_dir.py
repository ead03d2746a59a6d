"""The directory of a run: its manifest, and whether it can be resumed.

``last/`` is a checkpoint that captions (averaged weights) with the trainer's state: raw weights, average, optimizer
moments, counters. All randomness is a function of (seed, step), so no generator is saved, and a run that was killed
and resumed ends with the same bits as one that was not (on the CPU, with the same threads).
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from showtell.config.recipe import Recipe, dump_recipe, parse_recipe
from showtell.data.prepared import PreparedSet
from showtell.encoders.encoder import Encoder
from showtell.errors import ConfigError, DataError, ShowtellError
from showtell.system.atomic import (
    atomic_directory,
    read_manifest,
    recover_directory,
    write_manifest,
    write_text,
)
from showtell.training.objectives.distillation import teacher_hashes
from showtell.training.warm_start import init_checkpoint_hash

KIND, FORMAT = "showtell run", 2

# Keys that change neither the weights nor the order of events. Paths may change; the files' contents may not: their
# SHA-256 are in the provenance.
FREE_KEYS = {
    "recipe.training.trackers",
    "recipe.training.save_steps",
    "recipe.training.init_from",
    "recipe.encoder.weights",
}
MAX_VALUE_LENGTH = 40


def provenance(recipe: Recipe, prepared: PreparedSet, encoder: Encoder) -> dict[str, Any]:
    """Return the identities of data, encoder, initial checkpoint and teachers.

    Raises:
        CheckpointError: ``training.init_from`` or a teacher is not a checkpoint.
    """
    origin = {
        "data": {"fingerprint": prepared.fingerprint},
        "encoder": encoder.identity(),
        "init_checkpoint": init_checkpoint_hash(recipe.training.init_from),
    }
    teachers = teacher_hashes(recipe.objective)
    return origin | {"teachers": teachers} if teachers else origin


def with_encoder_weights(recipe: Recipe, run: Path, weights: Path | None, *, restart: bool = False) -> Recipe:
    """Return the recipe with the path of its encoder's weights: the given one, else the resumed run's."""
    path = None if weights is None else str(weights.resolve())
    if path is None and recipe.encoder.weights is None and not restart:
        try:
            stored = parse_recipe(read_manifest(run, KIND, FORMAT)["recipe"], "the run's recipe").encoder
        except (KeyError, ShowtellError):
            return recipe
        same = stored.model_copy(update={"weights": None}) == recipe.encoder
        path = stored.weights if same else None
    if path is None:
        return recipe
    return recipe.model_copy(update={"encoder": recipe.encoder.model_copy(update={"weights": path})})


def check_run(directory: Path, recipe: Recipe, origin: Mapping[str, Any], *, restart: bool) -> bool:
    """Return whether a directory holds this run, which can be resumed; change nothing.

    Args:
        directory: The run.
        recipe: Its resolved recipe.
        origin: Its `provenance`.
        restart: Accept any run.

    Raises:
        ConfigError: the run has another recipe, data or encoder; names each difference.
        DataError: the directory is not a run, or one of another format.
    """
    recover_directory(directory)
    if not directory.exists() or not any(directory.iterdir()):
        return False
    manifest = read_manifest(directory, KIND, FORMAT)
    if restart:
        return False
    changed = differences(_with_new_keys(manifest), json.loads(json.dumps(_manifest(recipe, origin))))
    if changed:
        raise ConfigError(
            f"{directory} holds another run",
            found="; ".join(changed),
            mend=f"To train its captioner further, set training.init_from={directory} and choose another -o; "
            "--restart discards the run",
        )
    return True


def open_run(directory: Path, recipe: Recipe, origin: Mapping[str, Any], *, restart: bool) -> None:
    """Create a run's directory, unless it holds this run already.

    A run that is restarted stays whole until the new one has its manifest.

    Args:
        directory: The run.
        recipe: Its resolved recipe.
        origin: Its `provenance`.
        restart: Discard the run in the directory.

    Raises:
        ConfigError: the run has another recipe, data or encoder; names each difference.
        DataError: the directory is not a run, or cannot be written.
    """
    if check_run(directory, recipe, origin, restart=restart):
        return
    if directory.exists() and not any(directory.iterdir()):
        # An empty directory may be a mount, which cannot be renamed.
        _create(directory, recipe, origin)
        return
    with atomic_directory(directory) as fresh:
        _create(fresh, recipe, origin)


def check_disk_space(run: Path, checkpoint_bytes: int) -> None:
    """Refuse a run whose checkpoints do not fit on the disk.

    Args:
        run: Its directory.
        checkpoint_bytes: Size of ``best/`` and ``last/`` together with a new copy of ``last/`` that is being written.

    Raises:
        DataError: there is too little free space.
    """
    stored = sum(path.stat().st_size for path in run.glob("*/*") if path.is_file())
    free = shutil.disk_usage(run).free
    if free < checkpoint_bytes - stored:
        raise DataError(
            f"too little disk space for the checkpoints of {run}",
            found=f"{free / 1e6:,.1f} MB free",
            expected=f"{(checkpoint_bytes - stored) / 1e6:,.1f} MB",
            mend="Free some space or choose another -o",
        )


def _create(directory: Path, recipe: Recipe, origin: Mapping[str, Any]) -> None:
    write_text(directory / "recipe.yaml", dump_recipe(recipe))
    write_manifest(directory, KIND, FORMAT, _manifest(recipe, origin))


def _manifest(recipe: Recipe, origin: Mapping[str, Any]) -> dict[str, Any]:
    return {"recipe": recipe.model_dump(mode="json"), **origin}


def _with_new_keys(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest whose recipe has later keys too: their defaults keep the earlier behavior."""
    try:
        recipe = parse_recipe(manifest["recipe"], "the run's recipe")
    except (KeyError, ConfigError):
        return dict(manifest)
    return {**manifest, "recipe": recipe.model_dump(mode="json")}


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Return ``key: old → new`` for each key in which two manifests differ, without `FREE_KEYS`."""
    if old == new or path in FREE_KEYS:
        return []
    if isinstance(old, list) and isinstance(new, list) and any(isinstance(item, dict) for item in old + new):
        old, new = (dict(enumerate(items)) for items in (old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        if path and old.get("name") != new.get("name") and old.keys() != new.keys():
            # Another decoder or objective: its other keys follow from its name.
            return [f"{path}.name: {_short(old.get('name'))} → {_short(new.get('name'))}"]
        keys = [key for key in old | new if path or key not in {"kind", "format"}]
        return [
            line
            for key in keys
            for line in differences(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
        ]
    return [f"{path}: {_short(old)} → {_short(new)}"]


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("name", "set"))
    text = "none" if value is None else json.dumps(value) if isinstance(value, bool | list) else str(value)
    return text if len(text) <= MAX_VALUE_LENGTH else f"{text[:12]}…"
