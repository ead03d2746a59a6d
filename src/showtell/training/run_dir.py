"""The directory of a run: its manifest, and whether it can be resumed.

``last/`` is a checkpoint that captions (averaged weights) with the trainer's state: raw weights, average, optimizer
moments, counters. All randomness is a function of (seed, step), so no generator is saved, and a run that was killed
and resumed ends with the same bits as one that was not (on the CPU, with the same threads).
"""

import contextlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from showtell.checkpoints.checkpoint import Checkpoint
from showtell.checkpoints.config import read_config
from showtell.checkpoints.hub import DECODER, TOKENIZER
from showtell.config.recipe import AdaptedKey, Recipe, dump_recipe, parse_recipe
from showtell.data.prepared import PreparedSet
from showtell.encoders.encoder import Encoder
from showtell.errors import ConfigError, DataError, ShowtellError
from showtell.system.atomic import (
    atomic_directory,
    read_manifest,
    recover_directory,
    resolve_swapped,
    write_manifest,
    write_text,
)
from showtell.tokenizer import Tokenizer

KIND, FORMAT = "showtell run", 2

# Keys that change neither the weights nor the order of events. Paths may change; the files' contents may not: their
# SHA-256 are in the provenance.
FREE_KEYS = {
    "recipe.training.trackers",
    "recipe.training.save_steps",
    "recipe.training.init_from",
    "recipe.data.rehearse",
    "recipe.encoder.weights",
}
MAX_VALUE_LENGTH = 40


@dataclass(frozen=True)
class StoredRun:
    """The recipe and the vocabulary of a run that is resumed."""

    recipe: Recipe
    values: Mapping[str, Any]  # the recipe without the keys of later versions
    tokenizer: Tokenizer | None  # None: it was interrupted before its first step


def read_stored(directory: Path) -> StoredRun | None:
    """Return what a run stores; None without a run that this version can resume, which `check_run` explains.

    Raises:
        CheckpointError: the vocabulary is broken.
    """
    directory = resolve_swapped(directory)
    try:
        values = read_manifest(directory, KIND, FORMAT)["recipe"]
        recipe = parse_recipe(values, "the run's recipe")
    except (KeyError, ShowtellError):
        return None
    path = resolve_swapped(directory / "last") / TOKENIZER
    return StoredRun(recipe, values, Tokenizer.load(path) if path.exists() else None)


def known_adapted_keys(recipe: Recipe, stored: Mapping[str, Any]) -> list[AdaptedKey]:
    """Return the adapted keys of a recipe that the version which stored another one could adapt."""

    def is_known(key: str) -> bool:
        *path, last = key.split(".")
        node: Any = stored
        for part in path:
            node = node[int(part)] if isinstance(node, list) else node.get(part, {})
        return last in node

    return [key for key in recipe.training.adapt if "adapt" in stored.get("training", {}) and is_known(key)]


def provenance(
    recipe: Recipe, prepared: PreparedSet, encoder: Encoder, initial: Checkpoint | None
) -> dict[str, Any]:
    """Return the identities of data, encoder, initial checkpoint and teachers.

    Raises:
        CheckpointError: a teacher is not a checkpoint.
    """
    origin = {
        "data": {"fingerprint": prepared.fingerprint},
        "encoder": encoder.identity(),
        "init_checkpoint": None if initial is None else _decoder_hash(initial.config),
    }
    if recipe.data.rehearse is not None:
        origin["rehearsed"] = {"fingerprint": PreparedSet.load(Path(recipe.data.rehearse)).fingerprint}
    teachers = [
        _decoder_hash(read_config(Path(path))[1]) for phase in recipe.objective for path in phase.teachers
    ]
    return origin | {"teachers": teachers} if teachers else origin


def _decoder_hash(config: Mapping[str, Any]) -> str:
    return str(config["files"][DECODER])


def with_encoder_weights(recipe: Recipe, stored: StoredRun | None, weights: Path | None) -> Recipe:
    """Return the recipe with the path of its encoder's weights: the given one, else the resumed run's."""
    path = None if weights is None else str(weights.resolve())
    if path is None and recipe.encoder.weights is None and stored is not None:
        encoder = stored.recipe.encoder
        path = encoder.weights if encoder.model_copy(update={"weights": None}) == recipe.encoder else None
    if path is None:
        return recipe
    return recipe.model_copy(update={"encoder": recipe.encoder.model_copy(update={"weights": path})})


def check_run(directory: Path, recipe: Recipe, origin: Mapping[str, Any], *, restart: bool) -> bool:
    """Return whether a directory holds the run of a resolved recipe and its `provenance`, and can be resumed.

    Changes nothing; with ``restart`` it accepts any run.

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
    changed = differences(with_new_keys(manifest), json.loads(json.dumps(_manifest(recipe, origin))))
    if changed:
        raise ConfigError(
            f"{directory} holds another run",
            found="; ".join(changed),
            mend=f"To train its captioner further, set training.init_from={directory} and choose another -o; "
            "--restart discards the run",
        )
    return True


def open_run(directory: Path, recipe: Recipe, origin: Mapping[str, Any], *, restart: bool) -> None:
    """Create a run's directory, unless it holds this run already; see `check_run` for the errors.

    A run that is restarted stays whole until the new one has its manifest.
    """
    if check_run(directory, recipe, origin, restart=restart):
        return
    # An empty directory may be a mount, which cannot be renamed.
    is_empty = directory.exists() and not any(directory.iterdir())
    with contextlib.nullcontext(directory) if is_empty else atomic_directory(directory) as fresh:
        write_text(fresh / "recipe.yaml", dump_recipe(recipe))
        write_manifest(fresh, KIND, FORMAT, _manifest(recipe, origin))


def check_disk_space(run: Path, checkpoint_bytes: int) -> None:
    """Raise a DataError if ``best/``, ``last/`` and a new copy of ``last/`` together do not fit on the run's disk."""
    stored = sum(path.stat().st_size for path in run.glob("*/*") if path.is_file())
    free = shutil.disk_usage(run).free
    if free < checkpoint_bytes - stored:
        raise DataError(
            f"too little disk space for the checkpoints of {run}",
            found=f"{free / 1e6:,.1f} MB free",
            expected=f"{(checkpoint_bytes - stored) / 1e6:,.1f} MB",
            mend="Free some space or choose another -o",
        )


def _manifest(recipe: Recipe, origin: Mapping[str, Any]) -> dict[str, Any]:
    return {"recipe": recipe.model_dump(mode="json"), **origin}


def with_new_keys(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest whose recipe has the keys of later versions too: their defaults keep the earlier behavior."""
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
