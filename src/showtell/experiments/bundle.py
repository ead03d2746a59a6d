"""A trained captioner as a small directory to keep in a repository: the function behind ``showtell bundle``.

The decoder is rounded to float16, the frozen encoder is stored once for all captioners beside it, and nothing about
the training or its machine is included. Several captioners become one with the mean of their weights.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from showtell.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_portable
from showtell.checkpoints.config import CALIBRATION
from showtell.checkpoints.hub import FILES, find_checkpoint
from showtell.checkpoints.model_card import strip_recipe_paths
from showtell.checkpoints.soup import average_checkpoints
from showtell.config.generation import DecodingOptions, override
from showtell.config.recipe import load_recipe, parse_recipe
from showtell.errors import ConfigError
from showtell.training.evaluate import evaluate_checkpoint

FREE_KEYS = (
    ("encoder", "weights"),
    ("training", "trackers"),
    ("training", "threads"),
    ("training", "adapt"),
)
"""Keys that do not change a captioner: where files are, which trackers, how many cores, and ``adapt``, since a
checkpoint's recipe has the adapted numbers."""


def make_bundle(
    checkpoint: str | Path | Sequence[str | Path],
    out: Path,
    *,
    weights: Sequence[float] | None = None,
    encoder: Path | None = None,
    encoder_weights: Path | None = None,
    recipe: str | None = None,
    card: Mapping[str, Any] | None = None,
    generation: Mapping[str, Any] | None = None,
    flip_average: bool = False,
    data: Path | None = None,
    split: str = "dev",
) -> list[Path]:
    """Write a captioner in float16, with its model card, ready to be kept in a repository; return the files.

    Of several captioners (checkpoints, runs or names on the hub) it is the mean, with ``weights`` or equal ones.
    ``out`` is new or empty, or holds a bundle, which is replaced. ``generation`` replaces decoding options,
    ``flip_average`` averages features over horizontal flips, however it was trained.

    The encoder's weights are read from ``encoder_weights``, or from where the checkpoint names them, and written to
    ``encoder``, in compressed form if that does not exist yet: a file outside ``out`` for several captioners. Without
    it the captioner carries its encoder.

    The model card has the fields of ``card`` (`CardFields`) and the command that trains such a captioner by the
    shipped ``recipe``. Its scores are those on a split of ``data``, or else the checkpoint's, unless it decodes
    differently now.

    Raises:
        ConfigError: no such recipe, a checkpoint that does not know its own, an unknown field of the card or
            option, or weights that do not fit.
        ShowtellError: the checkpoint, its encoder, the data or ``out`` cannot be used; see `save_portable`.
    """
    paths = [checkpoint] if isinstance(checkpoint, str | Path) else list(checkpoint)
    if len(paths) == 1 and weights is not None:
        raise ConfigError("--weight cannot be used", found="one captioner", expected="several to average")
    first, *others = (find_checkpoint(path) for path in paths)
    loaded = load_checkpoint(first, encoder_weights=encoder_weights)
    if others:
        rest = [load_checkpoint(path, with_encoder=False) for path in others]
        loaded = average_checkpoints([loaded, *rest], weights)
    if generation:
        loaded = _with_generation(loaded, override(loaded.generation, **generation))
    if flip_average:
        loaded = _with_flip_average(loaded)
    fields = dict(card or {})
    if recipe is not None:
        fields["command"] = training_command(loaded.config, recipe, out.name)
    write = partial(
        save_portable,
        directory=out,
        shared_encoder=encoder,
        half=True,
        # A path of this machine means nothing to the repository's readers.
        repository=out.name if out.is_absolute() or ".." in out.parts else out.as_posix(),
    )
    write(loaded, card=fields)
    if data is not None:
        # Evaluated as it was written, with the encoder where the bundle names it.
        scores = evaluate_checkpoint(out, data=data, split=split).scores
        described = {"values": scores.values, "signature": scores.signature}
        described |= {"split": split, "data": data.resolve().name}
        loaded = load_checkpoint(out)
        write(replace(loaded, config={**loaded.config, "scores": described}))
    written = [out / name for name in FILES if (out / name).exists()]
    return written if encoder is None else [*written, encoder]


def _with_generation(loaded: Checkpoint, options: DecodingOptions) -> Checkpoint:
    """Return a captioner with other decoding options; scores of other options are dropped."""
    generation = options.model_dump(mode="json")
    config = {**loaded.config, "generation": generation}
    if "recipe" in config:
        config["recipe"] = {**config["recipe"], "generation": generation}
    if options != loaded.generation:
        config.pop("scores", None)
    return replace(loaded, generation=options, config=config)


def _with_flip_average(loaded: Checkpoint) -> Checkpoint:
    """Return a captioner that averages features over flips; scores without that are dropped."""
    encoder = loaded.encoder
    if encoder.spec.flip_average:
        return loaded
    if loaded.datastore is not None:
        raise ConfigError(
            "--flip-average cannot be used",
            found="a captioner with a datastore of features without it",
            mend="Average first, then index: showtell bundle --flip-average, then showtell index",
        )
    encoder.spec = encoder.spec.model_copy(update={"flip_average": True})
    described = dict(loaded.config["encoder"])
    described["spec"] = {**described["spec"], "flip_average": True}
    described["identity"] = {**described["identity"], **encoder.spec.identity_fields}
    left_out = {"scores", CALIBRATION}
    config = {name: value for name, value in loaded.config.items() if name not in left_out}
    return replace(loaded, config={**config, "encoder": described})


def training_command(config: Mapping[str, Any], recipe: str, name: str) -> str:
    """Return the command that trains a captioner like this one by a shipped recipe, on the hub's encoder weights.

    Each key in which the checkpoint's recipe differs is set. A mean of several has no recipe to compare with.

    Raises:
        ConfigError: no such recipe, or a checkpoint that does not name its recipe and its data.
    """
    if "recipe" not in config or "data" not in config:
        raise ConfigError(
            f"no command by the recipe {recipe} can be named",
            found="a checkpoint that does not name its recipe and its data",
            mend="Omit --recipe (recipe=)",
        )
    shipped = load_recipe(recipe).model_dump(mode="json")
    trained = strip_recipe_paths(
        parse_recipe(config["recipe"], "the checkpoint's recipe").model_dump(mode="json")
    )
    for part, free in FREE_KEYS:
        trained[part][free] = shipped[part][free]
    phases = trained["objective"]
    if trained["training"]["init_from"] is not None and shipped["objective"][-len(phases) :] == phases:
        # It was initialized from a captioner of the phases before, which the recipe trains as well.
        trained["objective"], trained["training"]["init_from"] = shipped["objective"], None
    words = ["showtell", "train", recipe, "--data", f"data/{config['data']['name']}", "-o", f"runs/{name}"]
    if "merged_from" in config:
        return shlex.join(words)
    for key, value in _changes(shipped, trained):
        text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"))
        words += ["--set", f"{key}=" + text.removesuffix("\n").removesuffix("\n...")]
    return shlex.join(words)


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each dotted key of a recipe whose value changed, with the new value."""
    for name, value in new.items():
        key = f"{prefix}{name}"
        before = old.get(name)
        if value == before:
            continue
        # Sections of different kinds have different keys: such a section is set as a whole.
        if (
            isinstance(value, dict)
            and isinstance(before, dict)
            and value.keys() == before.keys()
            and value.get("name") == before.get("name")
        ):
            yield from _changes(before, value, f"{key}.")
        else:
            yield key, value
