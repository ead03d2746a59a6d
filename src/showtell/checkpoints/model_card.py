"""The model card of a checkpoint, ``README.md``: what it is, how it was made, how well it does, its limits.

Everything is read from the checkpoint's configuration; what that does not say is left out, never guessed. The header
is the metadata that the Hugging Face hub reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import Field, ValidationError

from showtell.config.base import StrictModel, describe_problems

METRIC_IDS = {"BLEU": "bleu", "ROUGE": "rouge", "CIDEr": "cider"}

DATA_NOTES = {
    "flickr8k": "Flickr8k's photographs are mostly of people and dogs out of doors: it sees these everywhere.",
    "flickr30k": "Flickr30k's photographs are mostly of people at everyday work and play: it sees these everywhere.",
    "coco": "COCO's photographs were chosen for eighty kinds of common objects: it sees these everywhere.",
}
"""What is known of published sets, by the beginning of their format's name."""


class CardFields(StrictModel):
    """What a configuration cannot know of its captioner: for the header of the model card, its limits, its recipe."""

    license: str | None = Field(None, description="an identifier of the hub: mit, cc-by-nc-4.0, other")
    license_link: str | None = Field(None, description="address of a licence that has no identifier")
    language: str | list[str] = Field("en", description="ISO 639 code of the captions' language, or several")
    datasets: list[str] = Field([], description="what it was trained on, by the names of the hub's data sets")
    tags: list[str] = Field([], description="beside image-captioning and showtell")
    notes: list[str] = Field([], description="limits that only who trained it knows, a sentence each")
    command: str | None = Field(None, description="what trains such a captioner on the hub's encoder weights")


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
        config: All of its ``config.json``.
        repository: Where it will lie, on the hub or as a directory; None: nowhere yet.
    """
    fields = CardFields.model_validate(config.get("card", {}))
    name = repository.rsplit("/", maxsplit=1)[-1] if repository else "captioner"
    parts = [
        f"---\n{yaml.safe_dump(_header(config, fields, name), sort_keys=False, allow_unicode=True)}---",
        f"# {name}",
        _what_it_is(config),
        _use(repository or "DIRECTORY"),
        _made_from(config),
        _scores(config),
        _limits(config, fields),
        _again(fields),
        _recipe(config),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _header(config: Mapping[str, Any], fields: CardFields, name: str) -> dict[str, Any]:
    """Return the metadata that the hub reads."""
    header: dict[str, Any] = {
        "license": fields.license,
        "license_link": fields.license_link,
        "language": fields.language,
        "library_name": "showtell",
        "pipeline_tag": "image-to-text",
        "tags": list(dict.fromkeys(["image-captioning", "showtell", *fields.tags])),
        "datasets": fields.datasets,
    }
    values = _score_values(config)
    if values:
        header["metrics"] = list(dict.fromkeys(_metric_id(metric) for metric in values))
        header["model-index"] = [{"name": name, "results": [_result(config, fields, values)]}]
    return {key: value for key, value in header.items() if value}


def _result(config: Mapping[str, Any], fields: CardFields, values: Mapping[str, float]) -> dict[str, Any]:
    data_name, split = _judged_on(config)
    slug = re.sub(r"[^a-z0-9._-]+", "-", data_name.lower()).strip("-") or "set"
    return {
        "task": {"type": "image-to-text", "name": "Image captioning"},
        "dataset": {
            "type": fields.datasets[0] if fields.datasets else slug,
            "name": data_name,
            "split": split,
        },
        "metrics": [
            {"type": _metric_id(metric), "name": metric, "value": round(100 * value, 2)}
            for metric, value in values.items()
        ],
    }


def _score_values(config: Mapping[str, Any]) -> dict[str, float]:
    """Return the scores, unless it is not known of what they are."""
    known = config.get("data") and config.get("recipe") and config.get("scores")
    return dict(config["scores"]["values"]) if known else {}


def _judged_on(config: Mapping[str, Any]) -> tuple[str, str]:
    """Return the names of the set and the split that a checkpoint's scores are of."""
    scores = config["scores"]
    return (
        scores.get("data") or config["data"]["name"],
        scores.get("split") or config["recipe"]["validation"]["split"],
    )


def _metric_id(metric: str) -> str:
    return METRIC_IDS.get(metric.split("-", maxsplit=1)[0], metric.lower())


def _what_it_is(config: Mapping[str, Any]) -> str:
    encoder, decoder = config["encoder"], config["decoder"]
    spec, origin = encoder["spec"], encoder.get("origin")
    rows, columns = encoder["grid"]
    sizes = ", ".join(f"{key} {value}" for key, value in decoder.items() if key != "name")
    frozen = "trained along with the decoder" if spec["trainable"] else "frozen, not trained here"
    layout = f", stride layout {spec['stride_in']}" if spec["stride_in"] else ""
    twice = (
        ", the mean of what it sees in the picture and in its mirror image"
        if spec.get("flip_average")
        else ""
    )
    lines = [
        "A captioner: it looks at a picture and writes one sentence about it. Made with showtell.",
        "",
        f"- **Encoder**: `{spec['name']}`, {frozen}{layout}; "
        f"{rows}x{columns} regions of {encoder['width']} channels{twice}.",
    ]
    if encoder["identity"]["weights"]:
        when = " before training" if spec["trainable"] else ""
        lines.append(f"- **Encoder's weights{when}**: SHA-256 `{encoder['identity']['weights']}`.")
    if origin:
        lines.append(f"- **Encoder's origin and licence**, as its metadata say: {origin}.")
    if encoder.get("file"):
        lines.append(
            f"- **Encoder's file**: `{encoder['file']}`, shared by captioners that lie side by side."
        )
    lines += [
        f"- **Decoder**: `{decoder['name']}` ({sizes}){_rounding(config)}.",
        *_averaged(config),
        f"- **Vocabulary**: {config['vocabulary']:,} tokens.",
        f"- **Decoding**: {_decoding(config['generation'])}.",
        f"- **Files**: safetensors and JSON alone; `{'`, `'.join(config['files'])}`.",
    ]
    return "\n".join(lines)


def _rounding(config: Mapping[str, Any]) -> str:
    return f", rounded to {config['rounded']} and computed in float32" if "rounded" in config else ""


def _averaged(config: Mapping[str, Any]) -> list[str]:
    parts = [f"{one['share']:.3g} of `{one['decoder'][:12]}`" for one in config.get("averaged", [])]
    if not parts:
        return []
    return [f"- **Weights**: the mean of {len(parts)} decoders, {', '.join(parts)} (SHA-256 of their files)."]


def _decoding(generation: Mapping[str, Any]) -> str:
    how = f"{generation['beam_size']} beams" if generation["method"] == "beam" else generation["method"]
    blocked = generation.get("no_repeat_ngram_size", 0)
    never = f", no {blocked}-gram twice" if blocked else ""
    return f"{how}, at most {generation['max_tokens']} words, length penalty {generation['length_penalty']}{never}"


def _use(place: str) -> str:
    return f"""## Use

```
pip install 'showtell[train]'
showtell caption {place} photo.jpg
```

```python
from showtell import Captioner

captioner = Captioner.from_pretrained("{place}")
print(captioner.caption("photo.jpg").text)
```"""


def _made_from(config: Mapping[str, Any]) -> str:
    data, recipe = config.get("data"), config.get("recipe")
    if data is None or recipe is None:
        return ""
    read_as = f", read as {data['format']}" if data.get("format") else ""
    epochs = sum(phase["epochs"] for phase in recipe["objective"])
    optimizer, training, tokenizer = recipe["optimizer"], recipe["training"], recipe["tokenizer"]
    mirrored = ", half of them mirrored" if recipe["data"]["flip"] else ""
    return f"""## Training

- **Data**: {data["name"]}{read_as}; {data["pictures"]:,} training pictures{mirrored}.
  Fingerprint of pictures, captions and splits: `{data["fingerprint"]}`.
- **Captions**: at most {recipe["data"]["max_tokens"]} tokens, rarer than {tokenizer["min_count"]} times unknown.
- **Objective**: {", then ".join(_phase(phase) for phase in recipe["objective"])}, up to {epochs} epochs of batches of
  {training["batch_size"]} pictures; the best epoch by {recipe["validation"]["metric"]} on
  `{recipe["validation"]["split"]}` is kept.
- **Optimizer**: {optimizer["name"]}, learning rate {optimizer["lr"]:g}, schedule {recipe["schedule"]["name"]},
  precision {training["precision"]}, seed {training["seed"]}."""


def _phase(phase: Mapping[str, Any]) -> str:
    if "lr" in phase:
        return f"{phase['name']} (learning rate {phase['lr']:g})"
    teachers = ["the captioner so far"] * bool(phase.get("reinit")) + [
        f"`{one}`" for one in phase.get("teachers", ())
    ]
    if not teachers:
        return str(phase["name"])
    begun = ", with new weights" if phase.get("reinit") else ""
    return f"{phase['name']}{begun} (taught by {' and '.join(teachers)}, a share of {phase['distillation_weight']:g})"


def _scores(config: Mapping[str, Any]) -> str:
    values = _score_values(config)
    if not values:
        return ""
    rows = "\n".join(f"| {metric} | {100 * value:.2f} |" for metric, value in values.items())
    name, split = _judged_on(config)
    chosen = config["recipe"]["validation"]["split"]
    same = "the same split" if split == chosen else f"the split `{chosen}`"
    return f"""## Scores

On the split `{split}` of {name}, times 100. The epoch was chosen on {same}.{_of_what(config)}

| metric | score |
| --- | --- |
{rows}

Signature: `{config["scores"]["signature"]}`"""


def _of_what(config: Mapping[str, Any]) -> str:
    if "split" in config["scores"]:
        return "\nThey are of these very files, with the decoding above."
    if "rounded" not in config:
        return ""
    return f"\nThey are of the decoder in float32, before it was rounded to {config['rounded']}."


def _limits(config: Mapping[str, Any], fields: CardFields) -> str:
    form = str((config.get("data") or {}).get("format") or "")
    notes = [note for beginning, note in DATA_NOTES.items() if form.startswith(beginning)]
    seen = config["encoder"]["spec"].get("preprocessing")
    if seen:
        notes.append(
            f"It sees every picture at {seen['size']}x{seen['size']} pixels: what is small there is lost."
        )
    notes += fields.notes
    if fields.language == "en":
        notes.append("It writes English only.")
    listed = "".join(f"\n- {note}" for note in notes)
    return f"""## Intended use

For study and comparison, for first drafts of alternative text that a person corrects, and for searching one's own
pictures.

## Limits

- It knows no word that its training captions do not have, reads no writing, counts badly, and names neither people
  nor places.
- It is confident when it is wrong: objects, colours, numbers and actions are made up to fit what its training
  captions usually say.
- It repeats the habits and prejudices of those captions, above all about the gender, age, skin and doings of people.
  It must not be used to identify or to judge anybody.
- On pictures unlike its training pictures (drawings, screenshots, medical or aerial images) it says nothing useful.
- Not for decisions about safety, health, law or rights, nor for people who cannot check what it says.{listed}"""


def _again(fields: CardFields) -> str:
    if fields.command is None:
        return ""
    return f"""## Training it again

One command trains such a captioner, with the encoder weights that the Hugging Face hub has for it:

```
{fields.command}
```"""


def _recipe(config: Mapping[str, Any]) -> str:
    if "recipe" not in config:
        return ""
    text = yaml.safe_dump(config["recipe"], sort_keys=False, allow_unicode=True)
    return f"""## Recipe

All options, as `showtell train RECIPE.yaml` takes them:

```yaml
{text}```"""
