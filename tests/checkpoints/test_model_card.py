"""The model card: the hub can read its header, and it says what the configuration says and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard import metadata_load

from showtell.checkpoints.model_card import card_fields, model_card
from showtell.config.recipe import Recipe, parse_recipe
from showtell.errors import ConfigError

SIGNATURE = "showtell:0.1.0|tok:ptb-3.4.1|refs:5|pictures:1000|metrics:bleu4+rouge-l+cider-d|df:evaluated"


@pytest.fixture
def config(toy_recipe: Recipe) -> dict[str, Any]:
    """The configuration of a checkpoint that was trained and judged."""
    return {
        "encoder": {
            "spec": {"name": "resnet50", "stride_in": "conv2", "trainable": False},
            "identity": {"weights": "ab" * 32},
            "width": 2048,
            "grid": [7, 7],
            "origin": "timm/resnet50.tv_in1k on the Hugging Face hub, bsd-3-clause",
        },
        "decoder": {"name": "lstm", "hidden": 512},
        "vocabulary": 2540,
        "generation": {"method": "beam", "beam_size": 3, "max_tokens": 20, "length_penalty": 0.6},
        "files": {"decoder.safetensors": "0", "tokenizer.json": "1"},
        "recipe": toy_recipe.model_dump(mode="json"),
        "data": {"name": "Flickr8k", "format": "flickr8k", "pictures": 5999, "fingerprint": "cd" * 32},
        "scores": {
            "values": {"BLEU-1": 0.6012, "BLEU-4": 0.1963, "ROUGE-L": 0.45, "CIDEr-D": 0.4874},
            "signature": SIGNATURE,
        },
    }


def test_the_hub_reads_the_header(config: dict[str, Any], tmp_path: Path) -> None:
    config["card"] = {"license": "mit", "datasets": ["ann/flickr8k"], "tags": ["toy", "showtell"]}
    path = tmp_path / "README.md"
    path.write_text(model_card(config, repository="ann/eyes"), encoding="utf-8")
    header = metadata_load(path)
    assert header is not None
    assert {name: header[name] for name in header if name != "model-index"} == {
        "license": "mit",
        "language": "en",
        "library_name": "showtell",
        "pipeline_tag": "image-to-text",
        "tags": ["image-captioning", "showtell", "toy"],
        "datasets": ["ann/flickr8k"],
        "metrics": ["bleu", "rouge", "cider"],
    }
    data = ModelCard.load(path, ignore_metadata_errors=False).data
    assert data.model_name == "eyes"
    found = [(one.metric_type, one.metric_name, one.metric_value) for one in data.eval_results]
    assert found == [
        ("bleu", "BLEU-1", 60.12),
        ("bleu", "BLEU-4", 19.63),
        ("rouge", "ROUGE-L", 45.0),
        ("cider", "CIDEr-D", 48.74),
    ]
    assert {(one.dataset_type, one.dataset_name, one.dataset_split) for one in data.eval_results} == {
        ("ann/flickr8k", "Flickr8k", "dev")
    }


def test_the_text_has_data_recipe_scores_limits_and_use(config: dict[str, Any]) -> None:
    text = model_card(config, repository="ann/eyes")
    for part in (
        "# eyes\n",
        "showtell caption ann/eyes photo.jpg",
        'Captioner.from_pretrained("ann/eyes")',
        "timm/resnet50.tv_in1k on the Hugging Face hub, bsd-3-clause",
        f"SHA-256 `{'ab' * 32}`",
        "Flickr8k (format flickr8k); 5,999 training images.",
        "the best epoch by CIDEr-D on `dev`.",
        "| CIDEr-D | 48.74 |",
        f"Signature: `{SIGNATURE}`",
        "mostly photographs of people and dogs",
        "It writes English only.",
        "Not for decisions about safety",
    ):
        assert part in text


def test_the_recipe_on_the_card_is_the_whole_one(config: dict[str, Any], toy_recipe: Recipe) -> None:
    block = model_card(config).rsplit("```yaml\n", maxsplit=1)[1].removesuffix("```\n")
    assert parse_recipe(yaml.safe_load(block), "the card") == toy_recipe


@pytest.mark.parametrize("unknown", ["scores", "data", "recipe"])
def test_scores_of_nobody_knows_what_are_left_out(config: dict[str, Any], unknown: str) -> None:
    del config[unknown]
    text = model_card(config)
    assert "48.74" not in text
    assert "model-index" not in text


def test_what_is_not_known_is_left_out(config: dict[str, Any]) -> None:
    for name in ("scores", "data", "recipe"):
        del config[name]
    config["encoder"]["origin"] = config["encoder"]["identity"]["weights"] = None
    config["encoder"]["spec"].update(stride_in=None, trainable=True)
    config["card"] = {"language": "de"}
    text = model_card(config)
    header = yaml.safe_load(text.split("---")[1])
    assert header.keys() == {"language", "library_name", "pipeline_tag", "tags"}
    assert "None" not in text
    for absent in (
        "## Training",
        "## Scores",
        "## Recipe",
        "license",
        "SHA-256",
        "English",
        "dogs",
        "stride",
    ):
        assert absent not in text


def test_odd_names_stay_yaml(config: dict[str, Any], tmp_path: Path) -> None:
    config["data"]["name"] = "my: 'set' #1 – ärger"
    path = tmp_path / "README.md"
    path.write_text(model_card(config), encoding="utf-8")
    results = ModelCard.load(path).data.eval_results
    assert {(one.dataset_name, one.dataset_type) for one in results} == {
        ("my: 'set' #1 – ärger", "my-set-1-rger")
    }


def test_bad_fields_are_named() -> None:
    with pytest.raises(ConfigError, match=r"the model card cannot be used: 'license': .*found 5"):
        card_fields({"license": 5})


def test_a_distillation_phase_names_its_teachers(config: dict[str, Any]) -> None:
    plain, again = (
        {"name": "cross-entropy", "epochs": 2, "reinit": one, "distillation_weight": 0.5}
        for one in (False, True)
    )
    config["recipe"]["objective"] = [plain, again]
    text = model_card(config)
    assert (
        "cross-entropy, then cross-entropy, from new weights (distilled from the captioner so far, "
        "distillation weight 0.5)" in text
    )
    config["recipe"]["objective"] = [plain | {"teachers": ["first", "second"], "distillation_weight": 0.25}]
    assert (
        "cross-entropy (distilled from `first` and `second`, distillation weight 0.25), up to 2"
        in model_card(config)
    )


def test_the_card_names_the_constraint_on_ngrams(config: dict[str, Any]) -> None:
    assert "repeated" not in model_card(config)
    config["generation"]["no_repeat_ngram_size"] = 3
    assert "length penalty 0.6, no repeated 3-grams" in model_card(config)


def test_the_card_names_retrieval_and_whose_captions_it_reads(config: dict[str, Any]) -> None:
    assert "datastore" not in model_card(config)
    config["generation"].update(retrieval="rerank", neighbours=60)
    config["files"]["datastore.safetensors"] = "2"
    card = model_card(config)
    assert "length penalty 0.6; reranked by the captions of 60 similar images of its datastore" in card
    assert "captions that people wrote: their license applies to it" in card
