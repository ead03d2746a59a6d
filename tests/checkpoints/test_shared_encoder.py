"""One encoder for several captioners: it can be moved with them, and no other is taken for it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from showtell.checkpoints.checkpoint import load_checkpoint, save_portable
from showtell.checkpoints.config import read_config
from showtell.errors import CheckpointError, ConfigError, EncoderError
from showtell.inference.captioner import Captioner

PICTURES = [np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8) for seed in range(5)]


@pytest.fixture
def shop(frozen_captioner: Any, tmp_path: Path) -> Path:
    """A folder with two captioners and their encoder, whose makings are gone."""
    weights = Path(shutil.copy(frozen_captioner.weights, tmp_path / "weights.safetensors"))
    loaded = load_checkpoint(frozen_captioner.directory, encoder_weights=weights)
    for name in ("first", "second"):
        save_portable(loaded, tmp_path / "made" / name, shared_encoder=tmp_path / "made" / "eyes.safetensors")
    weights.unlink()
    return (tmp_path / "made").rename(tmp_path / "shop")


def say(place: Path, **options: Any) -> list[tuple[str, float]]:
    captioner = Captioner.load(place, device="cpu", **options)
    return [(caption.text, caption.score) for caption in captioner.caption(PICTURES)]


def test_captioners_share_a_compact_encoder_wherever_they_are_moved(
    shop: Path, frozen_captioner: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert sorted(path.name for path in shop.iterdir()) == ["eyes.safetensors", "first", "second"]
    assert sorted(path.name for path in (shop / "first").iterdir()) == [
        "README.md",
        "config.json",
        "decoder.safetensors",
        "tokenizer.json",
    ]
    assert (shop / "eyes.safetensors").stat().st_size < 0.7 * frozen_captioner.weights.stat().st_size
    expected = say(frozen_captioner.directory)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert say(shop / "first") == say(shop / "second") == expected
    monkeypatch.chdir(shop / "second")
    assert say(Path()) == expected


def test_no_path_of_the_machine_is_in_what_is_shared(
    shop: Path, tmp_path: Path, frozen_captioner: Any
) -> None:
    assert read_config(shop / "first")[1]["encoder"]["file"] == "../eyes.safetensors"
    for path in (shop / "first").iterdir():
        content = path.read_bytes()
        assert str(tmp_path).encode() not in content
        assert str(frozen_captioner.weights.parent).encode() not in content


def test_plain_and_compact_weights_stand_for_one_another(shop: Path, frozen_captioner: Any) -> None:
    expected = say(frozen_captioner.directory)
    compact = shop / "eyes.safetensors"
    assert say(frozen_captioner.directory, encoder_weights=compact) == expected
    assert say(shop / "first", encoder_weights=frozen_captioner.weights) == expected
    encoders = [
        load_checkpoint(place, encoder_weights=weights).model.encoder
        for place, weights in ((frozen_captioner.directory, compact), (shop / "first", None))
    ]
    for encoder in encoders:
        assert encoder is not None
        # What feature caches are keyed by.
        assert encoder.identity() == read_config(frozen_captioner.directory)[1]["encoder"]["identity"]


def test_a_missing_encoder_is_told_with_the_way_out(shop: Path, frozen_captioner: Any) -> None:
    (shop / "eyes.safetensors").unlink()
    with pytest.raises(
        EncoderError,
        match=r"is missing: found no file .*eyes\.safetensors\. Copy it along.*--encoder-weights",
    ):
        load_checkpoint(shop / "first")
    assert load_checkpoint(shop / "first", encoder_weights=frozen_captioner.weights).model.encoder


def test_another_encoder_in_its_place_is_refused(shop: Path, other_weights: Path) -> None:
    shutil.copy(other_weights, shop / "eyes.safetensors")
    with pytest.raises(
        EncoderError, match=r"eyes\.safetensors, given to .*first, belongs to another encoder"
    ):
        load_checkpoint(shop / "first")


@pytest.fixture
def other_weights(frozen_captioner: Any, tmp_path: Path) -> Path:
    from safetensors.torch import load_file, save_file

    tensors = load_file(frozen_captioner.weights)
    next(tensor for tensor in tensors.values() if tensor.ndim == 4).add_(0.25)
    save_file(tensors, tmp_path / "other.safetensors")
    return tmp_path / "other.safetensors"


def test_a_file_with_other_weights_is_not_written_over(
    frozen_captioner: Any, other_weights: Path, tmp_path: Path
) -> None:
    before = other_weights.read_bytes()
    with pytest.raises(EncoderError, match=r"other\.safetensors holds the weights of another encoder"):
        save_portable(
            load_checkpoint(frozen_captioner.directory), tmp_path / "place", shared_encoder=other_weights
        )
    assert other_weights.read_bytes() == before
    assert not (tmp_path / "place").exists()


def test_an_encoder_that_is_there_already_is_left_as_it_is(frozen_captioner: Any, tmp_path: Path) -> None:
    plain = Path(shutil.copy(frozen_captioner.weights, tmp_path / "eyes.safetensors"))
    before = plain.stat()
    save_portable(load_checkpoint(frozen_captioner.directory), tmp_path / "place", shared_encoder=plain)
    assert (plain.stat().st_ino, plain.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert say(tmp_path / "place") == say(frozen_captioner.directory)


def test_an_encoder_inside_the_directory_is_refused(frozen_captioner: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"found a path inside .*place\. Name a file beside"):
        save_portable(
            load_checkpoint(frozen_captioner.directory),
            tmp_path / "place",
            shared_encoder=tmp_path / "place" / "eyes.safetensors",
        )


def test_an_encoder_that_was_trained_along_is_not_shared(tiny_checkpoint: Any, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"a fine-tuned encoder, which fits only its own decoder\. Name no file"
    ):
        save_portable(
            load_checkpoint(tiny_checkpoint("lstm")), tmp_path / "place", shared_encoder=tmp_path / "eyes"
        )
    assert not (tmp_path / "eyes").exists()


def test_weights_that_were_replaced_since_loading_are_refused(
    frozen_captioner: Any, other_weights: Path, tmp_path: Path
) -> None:
    weights = Path(shutil.copy(frozen_captioner.weights, tmp_path / "weights.safetensors"))
    loaded = load_checkpoint(frozen_captioner.directory, encoder_weights=weights)
    shutil.copy(other_weights, weights)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors was changed after"):
        save_portable(loaded, tmp_path / "place", shared_encoder=tmp_path / "eyes.safetensors")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors was changed after"):
        save_portable(loaded, tmp_path / "place")


def test_a_captioner_taken_elsewhere_carries_what_it_shared(shop: Path, tmp_path: Path) -> None:
    expected = say(shop / "first")
    Captioner.load(shop / "first", device="cpu").save_pretrained(tmp_path / "away")
    shutil.rmtree(shop)
    config = read_config(tmp_path / "away")[1]
    assert "file" not in config["encoder"]
    assert "encoder.safetensors" in config["files"]
    assert say(tmp_path / "away") == expected
