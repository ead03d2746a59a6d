"""A run's directory: who it is, and what is needed to go on after a crash at any moment.

``last/`` is a checkpoint that captions (averaged weights) and beside it the trainer's state: raw weights, average,
optimizer moments, counters. Everything random is a function of (seed, step), so no generator needs saving, and a run
that was killed and started again ends with the same bits as one that was not (on CPU, same threads).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from showtell.config.recipe import Recipe, dump_recipe, parse_recipe
from showtell.data.prepared import PreparedSet
from showtell.encoders.encoder import Encoder
from showtell.errors import ConfigError
from showtell.system.atomic import (
    atomic_directory,
    read_manifest,
    recover_directory,
    write_manifest,
    write_text,
)
from showtell.training.distillation import teacher_identities
from showtell.training.warm_start import init_checkpoint_hash

KIND, FORMAT = "showtell run", 1

# Keys that change neither the weights nor the order of events. Where the encoder's weights lie may change; what
# they are may not: that is the origin's ``encoder.weights``, a SHA-256. So with the captioner started from.
FREE_KEYS = {
    "recipe.training.trackers",
    "recipe.training.save_steps",
    "recipe.training.init_from",
    "recipe.encoder.weights",
}


def provenance(recipe: Recipe, prepared: PreparedSet, encoder: Encoder) -> dict[str, Any]:
    """Return what a run is made from beside its recipe: data, encoder, the decoder it starts from, its teachers.

    Raises:
        CheckpointError: ``training.init_from`` or a teacher is no captioner.
    """
    origin = {
        "data": {"fingerprint": prepared.fingerprint},
        "encoder": encoder.identity(),
        "start": init_checkpoint_hash(recipe),
    }
    teachers = teacher_identities(recipe)
    return origin | {"teachers": teachers} if teachers else origin


def check_run(directory: Path, recipe: Recipe, origin: Mapping[str, Any], *, restart: bool) -> bool:
    """Return whether a directory holds this very run, to be gone on with; change nothing.

    Args:
        directory: The run.
        recipe: Its resolved recipe.
        origin: What else it is made from, see `provenance`.
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
        origin: What else it is made from, see `provenance`.
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
