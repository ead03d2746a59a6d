"""The model card of a checkpoint, from the template ``model_card.md`` and the checkpoint's configuration.

Unknown facts are left out, never guessed. The header is the metadata of the Hugging Face hub.
"""

import copy
import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import Field, ValidationError

from showtell.checkpoints.config import CALIBRATION
from showtell.checkpoints.hub import DATASTORE
from showtell.config.base import StrictModel, describe_problems
from showtell.errors import INSTALL

if TYPE_CHECKING:
    from jinja2 import Template

METRIC_IDS = {"BLEU": "bleu", "ROUGE": "rouge", "CIDEr": "cider"}

DATA_NOTES = {
    "flickr8k": "Flickr8k has mostly photographs of people and dogs outdoors: the captioner finds these everywhere.",
    "flickr30k": "Flickr30k has mostly photographs of people at everyday work and play: the captioner finds these "
    "everywhere.",
    "coco": "COCO's photographs were chosen for eighty common objects: the captioner finds these everywhere.",
}
"""Notes on published datasets, by the beginning of their format's name."""


class CardFields(StrictModel):
    """The parts of a model card that a configuration does not hold: for the header, the limits and the recipe."""

    license: str | None = Field(None, description="an identifier of the hub: mit, cc-by-nc-4.0, other")
    license_link: str | None = Field(None, description="address of a license that has no identifier")
    language: str | list[str] = Field("en", description="ISO 639 code of the captions' language, or several")
    datasets: list[str] = Field([], description="the training data, by the names of the hub's datasets")
    tags: list[str] = Field([], description="in addition to image-captioning and showtell")
    notes: list[str] = Field([], description="known limits, a sentence each")
    command: str | None = Field(None, description="trains such a captioner on the hub's encoder weights")


def card_fields(values: Mapping[str, Any]) -> CardFields:
    """Check the fields of a model card; an unknown one or one of the wrong type is a ConfigError."""
    try:
        return CardFields.model_validate(values)
    except ValidationError as error:
        raise describe_problems(error, CardFields, "the model card") from error


def model_card(config: Mapping[str, Any], *, repository: str | None = None) -> str:
    """Return the model card of a checkpoint from its ``config.json``.

    Its name and the commands on it are those of its ``repository`` on the hub or its directory, if that is known.
    """
    fields = CardFields.model_validate(config.get("card", {}))
    name = repository.rsplit("/", maxsplit=1)[-1] if repository else "captioner"
    scores, recipe = _scores(config), config.get("recipe")
    return _template().render(
        {"data": None, "recipe": None, "dtype": None, "merged_from": None, **config},
        header=_header(fields, scores, name),
        name=name,
        install=INSTALL.format(extra="train"),
        path=repository or "DIRECTORY",
        decoding=_decoding(config["generation"]),
        phases=[_phase(phase) for phase in recipe["objective"]] if recipe else [],
        scores=scores,
        confidence=config.get(CALIBRATION),
        notes=describe_limits(config, fields),
        command=fields.command,
        recipe_yaml=yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True),
    )


@functools.cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(Path(__file__).with_suffix(".md").read_text(encoding="utf-8"))


def _scores(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the scores with the names of data and split, unless the set that they were measured on is not known."""
    scores, data, recipe = (config.get(key) for key in ("scores", "data", "recipe"))
    if not (scores and scores["values"] and data and recipe):
        return None
    trained = {"data": data["name"], "split": recipe["validation"]["split"]}
    return {**trained, **scores, "of_these_files": "split" in scores}


def _header(fields: CardFields, scores: Mapping[str, Any] | None, name: str) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    values = scores["values"] if scores else {}
    results = None
    if scores:
        slug = re.sub(r"[^a-z0-9._-]+", "-", scores["data"].lower()).strip("-") or "set"
        results = [
            EvalResult(
                task_type="image-to-text",
                task_name="Image captioning",
                dataset_type=fields.datasets[0] if fields.datasets else slug,
                dataset_name=scores["data"],
                dataset_split=scores["split"],
                metric_type=_metric_id(metric),
                metric_name=metric,
                metric_value=round(100 * value, 2),
            )
            for metric, value in values.items()
        ]
    card = ModelCardData(
        license=fields.license,
        license_link=fields.license_link,
        language=fields.language,
        library_name="showtell",
        pipeline_tag="image-to-text",
        tags=list(dict.fromkeys(["image-captioning", "showtell", *fields.tags])),
        datasets=fields.datasets or None,
        metrics=list(dict.fromkeys(map(_metric_id, values))) or None,
        model_name=name if results else None,
        eval_results=results,
    )
    return card.to_yaml()


def _metric_id(metric: str) -> str:
    return METRIC_IDS.get(metric.split("-", maxsplit=1)[0], metric.lower())


def _decoding(generation: Mapping[str, Any]) -> str:
    method, size = generation["method"], generation.get("no_repeat_ngram_size", 0)
    how = f"beam search, beam size {generation['beam_size']}" if method == "beam" else method
    no_repeat = f", no repeated {size}-grams" if size else ""
    penalty = generation["length_penalty"]
    decoding = f"{how}, at most {generation['max_tokens']} tokens, length penalty {penalty}{no_repeat}"
    if generation.get("retrieval", "off") == "off":
        return decoding
    return (
        f"{decoding}; reranked by the captions of {generation['neighbours']} similar images of its datastore"
    )


def _phase(phase: Mapping[str, Any]) -> str:
    if "lr" in phase:
        return f"{phase['name']} (learning rate {phase['lr']:g})"
    itself = ["the captioner so far"] if phase.get("reinit") else []
    teachers = itself + [f"`{name}`" for name in phase.get("teachers", ())]
    if not teachers:
        return str(phase["name"])
    reinit = ", from new weights" if phase.get("reinit") else ""
    weight = f"distillation weight {phase['distillation_weight']:g}"
    return f"{phase['name']}{reinit} (distilled from {' and '.join(teachers)}, {weight})"


def describe_limits(config: Mapping[str, Any], fields: CardFields) -> list[str]:
    """Return the limits of this captioner, beside those of all."""
    data_format = str((config.get("data") or {}).get("format") or "")
    notes = [note for beginning, note in DATA_NOTES.items() if data_format.startswith(beginning)]
    if preprocessing := config["encoder"]["spec"].get("preprocessing"):
        size = preprocessing["size"]
        notes.append(f"Images are resized to {size}x{size} pixels: small details are lost.")
    if DATASTORE in config["files"]:
        notes.append("Its datastore holds captions that people wrote: their license applies to it.")
    notes += fields.notes
    if fields.language == "en":
        notes.append("It writes English only.")
    return notes


def strip_recipe_paths(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's values with files named without their folders."""
    stripped: dict[str, Any] = copy.deepcopy(dict(recipe))
    _strip(stripped.get("encoder", {}), "weights")
    _strip(stripped.get("training", {}), "init_from")
    _strip(stripped.get("data", {}), "rehearse")
    for phase in stripped.get("objective", []):
        if phase.get("teachers"):
            phase["teachers"] = [Path(path).name for path in phase["teachers"]]
    return stripped


def strip_config_paths(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's configuration with files, also those of its recipe, named without their folders."""
    stripped: dict[str, Any] = copy.deepcopy(dict(config))
    _strip(stripped["encoder"]["spec"], "weights")
    if "recipe" in stripped:
        stripped["recipe"] = strip_recipe_paths(stripped["recipe"])
    return stripped


def _strip(values: dict[str, Any], key: str) -> None:
    if values.get(key):
        values[key] = Path(values[key]).name
