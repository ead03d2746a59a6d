"""What lies in the repository ready to use: the captioners in models/ and the photographs in examples/."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from showtell.checkpoints.config import read_config
from showtell.checkpoints.model_card import model_card
from showtell.inference.captioner import Captioner

ROOT = Path(__file__).resolve().parents[2]
MODELS, EXAMPLES = ROOT / "models", ROOT / "examples"
CAPTIONERS = {
    "flickr8k": ("resnet50.safetensors", "flickr8k-best"),
    "flickr8k-two-encoders": ("resnet50+densenet169.safetensors", "flickr8k-two-encoders"),
}
"""Encoder and recipe of each."""
FILES = ("README.md", "config.json", "decoder.safetensors", "tokenizer.json", "datastore.safetensors")
MOST_BYTES = 110_000_000


def test_models_holds_the_captioners_and_their_encoders_and_nothing_else() -> None:
    found = {path.relative_to(MODELS).as_posix() for path in MODELS.rglob("*") if path.is_file()}
    encoders = {encoder for encoder, _ in CAPTIONERS.values()}
    assert found == {"README.md", *encoders, *(f"{name}/{file}" for name in CAPTIONERS for file in FILES)}


def test_models_stays_small() -> None:
    assert sum(path.stat().st_size for path in MODELS.rglob("*") if path.is_file()) <= MOST_BYTES


@pytest.mark.parametrize("name", CAPTIONERS)
def test_a_shipped_captioner_is_whole_and_names_no_place_but_its_encoder(name: str) -> None:
    config, (encoder, recipe) = read_config(MODELS / name)[1], CAPTIONERS[name]
    assert config["encoder"]["file"] == f"../{encoder}"
    assert config["dtype"] == "float16"
    assert "/" not in config["encoder"]["spec"]["weights"]
    assert config["scores"]["signature"]
    assert f"showtell train {recipe} " in (MODELS / name / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CAPTIONERS)
def test_a_shipped_card_is_that_of_its_configuration(name: str) -> None:
    card = model_card(read_config(MODELS / name)[1], repository=f"models/{name}")
    assert (MODELS / name / "README.md").read_text(encoding="utf-8") == card


@pytest.mark.slow
@pytest.mark.parametrize("name", CAPTIONERS)
def test_a_shipped_captioner_tells_the_examples(name: str) -> None:
    captions = Captioner.load(MODELS / name, device="cpu").caption(sorted(EXAMPLES.glob("*.jpg")))
    assert all(len(caption.words) > 3 and caption.error is None for caption in captions)
    words = {Path(str(caption.path)).stem: caption.words for caption in captions}
    for image, fitting in {
        "taxi": {"car"},
        "tennis": {"player", "tennis"},
        "motorcycle": {"motorcycle"},
        "beach": {"beach"},
    }.items():
        assert fitting & set(words[image])


@pytest.mark.slow
def test_the_captions_in_the_table_of_examples_are_the_captioners() -> None:
    table = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    captioner = Captioner.load(MODELS / "flickr8k", device="cpu")
    for caption in captioner.caption(sorted(EXAMPLES.glob("*.jpg"))):
        assert f"| `{Path(str(caption.path)).name}` | {caption.text} |" in table


def test_every_example_is_small_and_says_whose_it_is() -> None:
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    pictures = sorted(EXAMPLES.glob("*.jpg"))
    others = {path.name for path in EXAMPLES.iterdir()} - {path.name for path in pictures}
    assert others == {"README.md", "captions", "quickstart.ipynb"}
    assert 4 <= len(pictures) <= 6
    for path in pictures:
        assert path.stat().st_size < 100_000
        row = next(line for line in readme.splitlines() if line.startswith(f"| `{path.name}` |"))
        with Image.open(path) as picture:
            assert max(picture.size) <= 640
            comment = picture.info["comment"].decode("utf-8")
        author = comment.split("Photograph: ")[1].split(",")[0].split(" (")[0]
        assert author in row
        licence = next(one for one in ("public domain", "CC0 1.0", "CC BY 2.0") if one in comment)
        assert licence in row
