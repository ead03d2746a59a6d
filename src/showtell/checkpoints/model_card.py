"""The model card of a checkpoint, ``README.md``: architecture, training, scores and limits.

All of it is read from the checkpoint's configuration; unknown facts are left out, never guessed. The header is the
metadata of the Hugging Face hub.
"""

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from showtell.config.base import StrictModel, describe_problems
from showtell.errors import INSTALL

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
    """Check the fields of a model card.

    Raises:
        ConfigError: an unknown field ("did you mean"), or one of the wrong type.
    """
    try:
        return CardFields.model_validate(values)
    except ValidationError as error:
        raise describe_problems(error, CardFields, "the model card") from error


def model_card(config: Mapping[str, Any], *, repository: str | None = None) -> str:
    """Return the model card of a checkpoint.

    Args:
        config: Its ``config.json``.
        repository: Its repository on the hub or its directory; None: not known yet.
    """
    fields = CardFields.model_validate(config.get("card", {}))
    name = repository.rsplit("/", maxsplit=1)[-1] if repository else "captioner"
    parts = [
        f"---\n{_header(config, fields, name)}\n---",
        f"# {name}",
        _architecture(config),
        _use(repository or "DIRECTORY"),
        _training(config),
        _scores(config),
        _limits(config, fields),
        _command(fields),
        _recipe(config),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _header(config: Mapping[str, Any], fields: CardFields, name: str) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    values = _score_values(config)
    results = None
    if values:
        data_name, split = _evaluated_on(config)
        slug = re.sub(r"[^a-z0-9._-]+", "-", data_name.lower()).strip("-") or "set"
        results = [
            EvalResult(
                task_type="image-to-text",
                task_name="Image captioning",
                dataset_type=fields.datasets[0] if fields.datasets else slug,
                dataset_name=data_name,
                dataset_split=split,
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


def _score_values(config: Mapping[str, Any]) -> dict[str, float]:
    """Return the scores, unless the set that they were measured on is not known."""
    known = config.get("data") and config.get("recipe") and config.get("scores")
    return dict(config["scores"]["values"]) if known else {}


def _evaluated_on(config: Mapping[str, Any]) -> tuple[str, str]:
    """Return the names of the set and the split that a checkpoint's scores were measured on."""
    scores = config["scores"]
    return (
        scores.get("data") or config["data"]["name"],
        scores.get("split") or config["recipe"]["validation"]["split"],
    )


def _metric_id(metric: str) -> str:
    return METRIC_IDS.get(metric.split("-", maxsplit=1)[0], metric.lower())


def _architecture(config: Mapping[str, Any]) -> str:
    encoder, decoder = config["encoder"], config["decoder"]
    spec, weights = encoder["spec"], encoder["identity"]["weights"]
    rows, columns = encoder["grid"]
    sizes = ", ".join(f"{key} {value}" for key, value in decoder.items() if key != "name")
    dtype = f", stored as {config['dtype']} and computed in float32" if "dtype" in config else ""
    lines = [
        "An image captioning model: it describes an image in one sentence. Made with showtell.",
        "",
        f"- **Encoder**: `{spec['name']}`, {'fine-tuned' if spec['trainable'] else 'frozen'}"
        f"{', stride in ' + spec['stride_in'] if spec['stride_in'] else ''}; "
        f"{rows}x{columns} regions of {encoder['width']} channels"
        f"{', averaged over the image and its horizontal flip' if spec.get('flip_average') else ''}.",
    ]
    if weights:
        when = " before training" if spec["trainable"] else ""
        lines.append(f"- **Encoder weights{when}**: SHA-256 `{weights}`.")
    if encoder.get("origin"):
        lines.append(f"- **Encoder source and license**, from its metadata: {encoder['origin']}.")
    if encoder.get("file"):
        lines.append(f"- **Encoder file**: `{encoder['file']}`, shared with the captioners beside this one.")
    lines.append(f"- **Decoder**: `{decoder['name']}` ({sizes}){dtype}.")
    if parts := [f"{one['weight']:.3g} of `{one['decoder'][:12]}`" for one in config.get("merged_from", [])]:
        lines.append(f"- **Weights**: the average of {len(parts)} decoders, {', '.join(parts)} (SHA-256).")
    lines += [
        f"- **Vocabulary**: {config['vocabulary']:,} tokens.",
        f"- **Decoding**: {_decoding(config['generation'])}.",
        f"- **Files**: safetensors and JSON only; `{'`, `'.join(config['files'])}`.",
    ]
    return "\n".join(lines)


def _decoding(generation: Mapping[str, Any]) -> str:
    method, size = generation["method"], generation.get("no_repeat_ngram_size", 0)
    how = f"beam search, beam size {generation['beam_size']}" if method == "beam" else method
    no_repeat = f", no repeated {size}-grams" if size else ""
    penalty = generation["length_penalty"]
    return f"{how}, at most {generation['max_tokens']} tokens, length penalty {penalty}{no_repeat}"


def _use(path: str) -> str:
    return f"""## Use

In a clone of showtell:

```
{INSTALL.format(extra="train")}
showtell caption {path} photo.jpg
```

```python
from showtell import Captioner

captioner = Captioner.from_pretrained("{path}")
print(captioner.caption("photo.jpg").text)
```"""


def _training(config: Mapping[str, Any]) -> str:
    data, recipe = config.get("data"), config.get("recipe")
    if data is None or recipe is None:
        return ""
    source = f" (format {data['format']})" if data.get("format") else ""
    epochs = sum(phase["epochs"] for phase in recipe["objective"])
    optimizer, training, tokenizer = recipe["optimizer"], recipe["training"], recipe["tokenizer"]
    flipped = ", half of them flipped" if recipe["data"]["flip"] else ""
    return f"""## Training

- **Data**: {data["name"]}{source}; {data["pictures"]:,} training images{flipped}.
  Fingerprint of images, captions and splits: `{data["fingerprint"]}`.
- **Captions**: at most {recipe["data"]["max_tokens"]} tokens; tokens with fewer than {tokenizer["min_count"]}
  occurrences are unknown.
- **Objective**: {", then ".join(_phase(phase) for phase in recipe["objective"])}, up to {epochs} epochs, batch size
  {training["batch_size"]}; the best epoch by {recipe["validation"]["metric"]} on `{recipe["validation"]["split"]}`.
- **Optimizer**: {optimizer["name"]}, learning rate {optimizer["lr"]:g}, schedule {recipe["schedule"]["name"]},
  precision {training["precision"]}, seed {training["seed"]}."""


def _phase(phase: Mapping[str, Any]) -> str:
    if "lr" in phase:
        return f"{phase['name']} (learning rate {phase['lr']:g})"
    itself = ["the captioner so far"] if phase.get("reinit") else []
    teachers = itself + [f"`{one}`" for one in phase.get("teachers", ())]
    if not teachers:
        return str(phase["name"])
    reinit = ", from new weights" if phase.get("reinit") else ""
    weight = f"distillation weight {phase['distillation_weight']:g}"
    return f"{phase['name']}{reinit} (distilled from {' and '.join(teachers)}, {weight})"


def _scores(config: Mapping[str, Any]) -> str:
    values = _score_values(config)
    if not values:
        return ""
    rows = "\n".join(f"| {metric} | {100 * value:.2f} |" for metric, value in values.items())
    name, split = _evaluated_on(config)
    selection = config["recipe"]["validation"]["split"]
    if "split" in config["scores"]:
        note = " Measured on these files with the decoding above."
    elif "dtype" in config:
        note = f" Measured in float32, before conversion to {config['dtype']}."
    else:
        note = ""
    same = "the same split" if split == selection else f"the split `{selection}`"
    return f"""## Scores

Split `{split}` of {name}, times 100. The epoch was chosen on {same}.{note}

| metric | score |
| --- | --- |
{rows}

Signature: `{config["scores"]["signature"]}`"""


def _limits(config: Mapping[str, Any], fields: CardFields) -> str:
    data_format = str((config.get("data") or {}).get("format") or "")
    notes = [note for beginning, note in DATA_NOTES.items() if data_format.startswith(beginning)]
    if preprocessing := config["encoder"]["spec"].get("preprocessing"):
        size = preprocessing["size"]
        notes.append(f"Images are resized to {size}x{size} pixels: small details are lost.")
    notes += fields.notes
    if fields.language == "en":
        notes.append("It writes English only.")
    listed = "".join(f"\n- {note}" for note in notes)
    return f"""## Intended use

For study and comparison, for first drafts of alternative text that a human corrects, and for searching one's own
images.

## Limits

- It knows only the words of its training captions, does not read text, counts badly, and names neither people nor
  places.
- It is confident when it is wrong: it makes up objects, colors, numbers and actions that are common in captions.
- It repeats the habits and prejudices of those captions, above all about the gender, age, skin color and actions of
  people. It must not be used to identify or to rate anybody.
- On images unlike its training images (drawings, screenshots, medical or aerial images) its captions are useless.
- Not for decisions about safety, health, law or rights, nor for users who cannot check the captions.{listed}"""


def _command(fields: CardFields) -> str:
    if fields.command is None:
        return ""
    return f"""## Reproduce

Trains such a captioner with the encoder weights of the Hugging Face hub:

```
{fields.command}
```"""


def _recipe(config: Mapping[str, Any]) -> str:
    if "recipe" not in config:
        return ""
    text = yaml.safe_dump(config["recipe"], sort_keys=False, allow_unicode=True)
    return f"""## Recipe

All options, for `showtell train RECIPE.yaml`:

```yaml
{text}```"""


def strip_recipe_paths(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's values with files named without their folders."""
    stripped: dict[str, Any] = copy.deepcopy(dict(recipe))
    _strip(stripped.get("encoder", {}), "weights")
    _strip(stripped.get("training", {}), "init_from")
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
