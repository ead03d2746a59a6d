"""A trained captioner made small and whole, to lie in a repository: the function behind ``showtell bundle``.

The decoder is rounded to half floats, the frozen encoder is kept once for all captioners beside it, and nothing of a
training or of the machine it ran on goes along. Several captioners become one that has the mean of their weights.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from showtell.checkpoints.hub import FILES, find_checkpoint
from showtell.checkpoints.portable import strip_recipe_paths
from showtell.config.generation import DecodingOptions, override
from showtell.config.recipe import load_recipe, parse_recipe
from showtell.errors import ConfigError

if TYPE_CHECKING:
    from showtell.checkpoints.checkpoint import Checkpoint

FREE_KEYS = (("encoder", "weights"), ("training", "trackers"), ("training", "threads"))
"""Keys of a recipe that say nothing of the captioner: where files lay, who watched, on how many cores."""


@dataclass(frozen=True)
class Bundle:
    """What was written.

    Attributes:
        directory: The captioner.
        encoder: The file of the encoder that it shares; None: it carries its own.
        sizes: Bytes by name of each of its files.
    """

    directory: Path
    encoder: Path | None
    sizes: dict[str, int]


def make_bundle(
    checkpoint: str | Path | Sequence[str | Path],
    out: Path,
    *,
    shares: Sequence[float] | None = None,
    encoder: Path | None = None,
    encoder_weights: Path | None = None,
    recipe: str | None = None,
    card: Mapping[str, Any] | None = None,
    generation: Mapping[str, Any] | None = None,
    flip_average: bool = False,
    data: Path | None = None,
    split: str = "dev",
) -> Bundle:
    """Write a captioner in half floats, with its model card, ready to be kept in a repository.

    Args:
        checkpoint: A checkpoint, a run (its ``best/``), or a name on the hub; several: the mean of their weights
            (`showtell.checkpoints.soup`).
        out: A place that is new or empty, or holds a packed captioner, which is replaced.
        shares: How much each of several counts; None: all the same.
        encoder: The file of a frozen encoder's weights, outside ``out``, for several captioners: written in compact
            form where it is not there yet. None: the captioner carries its encoder.
        encoder_weights: Where the encoder's weights are now; None: where the checkpoint says.
        recipe: A shipped recipe; the card names the command that trains such a captioner by it.
        card: Fields of the model card (`showtell.checkpoints.model_card.CardFields`).
        generation: Decoding options that it shall have in place of its own: ``{"beam_size": 5}``.
        flip_average: It shall look at the mirror image of each picture too (`showtell.encoders.flip_average`), whatever it
            was trained to do.
        data: A prepared set: what is written captions a split of it, and these scores stand in the card. None: the
            scores it had do, unless it decodes otherwise now.
        split: That split.

    Raises:
        ConfigError: no such recipe, a checkpoint that does not know its own, a field of the card or an option that
            is unknown, or shares that do not fit.
        ShowtellError: the checkpoint, its encoder, the data or the place cannot be used; see `save_portable`.
    """
    from showtell.checkpoints.checkpoint import load_checkpoint, save_portable
    from showtell.checkpoints.soup import average_checkpoints

    paths = [checkpoint] if isinstance(checkpoint, str | Path) else list(checkpoint)
    if len(paths) == 1 and shares is not None:
        raise ConfigError("--share cannot be used", found="one captioner", expected="several to be averaged")
    first, *others = (find_checkpoint(path) for path in paths)
    loaded = load_checkpoint(first, encoder_weights=encoder_weights)
    if others:
        rest = [load_checkpoint(path, with_encoder=False) for path in others]
        loaded = average_checkpoints([loaded, *rest], shares)
    if generation:
        loaded = _decoding_by(loaded, override(loaded.generation, **generation))
    if flip_average:
        loaded = _looking_twice(loaded)
    fields = dict(card or {})
    if recipe is not None:
        fields["command"] = training_command(loaded.config, recipe, out.name)
    write = partial(
        save_portable,
        directory=out,
        shared_encoder=encoder,
        half=True,
        # A path of this machine says nothing to whom the repository is for.
        repository=out.name if out.is_absolute() or ".." in out.parts else out.as_posix(),
    )
    write(loaded, card=fields)
    if data is not None:
        write(_judged(out, data, split))
    sizes = {name: (out / name).stat().st_size for name in FILES if (out / name).exists()}
    return Bundle(out, encoder, sizes)


def _decoding_by(loaded: Checkpoint, options: DecodingOptions) -> Checkpoint:
    """Return a captioner that decodes otherwise; scores of another decoding are not its own."""
    told = options.model_dump(mode="json")
    config = {**loaded.config, "generation": told}
    if "recipe" in config:
        config["recipe"] = {**config["recipe"], "generation": told}
    if options != loaded.generation:
        config.pop("scores", None)
    return replace(loaded, generation=options, config=config)


def _looking_twice(loaded: Checkpoint) -> Checkpoint:
    """Return a captioner that looks at mirror images too; scores of a single look are not its own."""
    encoder = loaded.model.encoder
    assert encoder is not None
    if encoder.spec.flip_average:
        return loaded
    encoder.spec = encoder.spec.model_copy(update={"flip_average": True})
    seen = dict(loaded.config["encoder"])
    seen["spec"] = {**seen["spec"], "flip_average": True}
    seen["identity"] = {**seen["identity"], **encoder.spec.identity_fields}
    config = {name: value for name, value in loaded.config.items() if name != "scores"}
    return replace(loaded, config={**config, "encoder": seen})


def _judged(directory: Path, data: Path, split: str) -> Checkpoint:
    """Return a packed captioner that knows how good it is, its encoder loaded from where it lies."""
    from showtell.checkpoints.checkpoint import load_checkpoint
    from showtell.training.evaluate import evaluate_checkpoint

    scores = evaluate_checkpoint(directory, data=data, split=split).scores
    loaded = load_checkpoint(directory)
    judged = {
        "values": scores.values,
        "signature": scores.signature,
        "split": split,
        "data": data.resolve().name,
    }
    return replace(loaded, config={**loaded.config, "scores": judged})


def training_command(config: Mapping[str, Any], recipe: str, name: str) -> str:
    """Return the command that trains a captioner like this one by a shipped recipe, on the hub's encoder weights.

    Args:
        config: Of the checkpoint.
        recipe: The shipped recipe's name; each key that the checkpoint was trained with otherwise is set. A mean of
            several has no recipe of its own: it is taken at its word.
        name: What the new run is called.

    Raises:
        ConfigError: no such recipe, or the checkpoint does not know what it was trained by.
    """
    if "recipe" not in config or "data" not in config:
        raise ConfigError(
            f"no command by the recipe {recipe} can be named",
            found="a checkpoint that does not say by which recipe and on what it was trained",
            mend="Leave --recipe (recipe=) out",
        )
    shipped = load_recipe(recipe).model_dump(mode="json")
    trained = strip_recipe_paths(
        parse_recipe(config["recipe"], "the checkpoint's recipe").model_dump(mode="json")
    )
    for part, free in FREE_KEYS:
        trained[part][free] = shipped[part][free]
    phases = trained["objective"]
    if trained["training"]["start"] is not None and shipped["objective"][-len(phases) :] == phases:
        # It began with a captioner of the phases before, which the recipe trains as well.
        trained["objective"], trained["training"]["start"] = shipped["objective"], None
    words = ["showtell", "train", recipe, "--data", f"data/{config['data']['name']}", "-o", f"runs/{name}"]
    if "averaged" in config:
        return shlex.join(words)
    for key, value in _changes(shipped, trained):
        words += ["--set", f"{key}={_as_yaml(value)}"]
    return shlex.join(words)


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each dotted key of a recipe whose value is another one, with the new value."""
    for name, value in new.items():
        key = f"{above}{name}"
        before = old.get(name)
        if value == before:
            continue
        # Parts of different kinds have different keys: such a part is set as a whole.
        if (
            isinstance(value, dict)
            and isinstance(before, dict)
            and value.keys() == before.keys()
            and value.get("name") == before.get("name")
        ):
            yield from _changes(before, value, f"{key}.")
        else:
            yield key, value


def _as_yaml(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"))
    return text.removesuffix("\n").removesuffix("\n...")
