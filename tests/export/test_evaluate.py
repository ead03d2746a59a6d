"""`showtell.evaluate` scores a checkpoint and its export alike, by the same function."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import showtell
from showtell import Captioner
from showtell.data.prepared import PreparedSet, prepare
from showtell.errors import ConfigError, DataError
from showtell.export.onnx import Exported


def test_a_checkpoint_and_its_export_have_the_same_scores(
    exported: Exported, tiny_checkpoint: Callable[[str], Path], toy_set: PreparedSet
) -> None:
    checkpoint = tiny_checkpoint("attention")
    found = [
        showtell.evaluate(path, data=toy_set.directory, split="dev", device="cpu", beam_size=2)
        for path in (checkpoint, str(exported.directory))
    ]
    assert found[0].texts == found[1].texts
    assert found[0].scores == found[1].scores
    assert len(found[0].texts) == len(toy_set.split_rows("dev"))


def test_samples_of_a_set_are_those_of_its_images_with_a_checkpoint_and_its_export(
    exported: Exported, frozen_captioner: Any, toy_set: PreparedSet, tmp_path: Path
) -> None:
    options = {"method": "sample", "samples": 2, "seed": 3}
    data = {"data": toy_set.directory, "split": "dev", "device": "cpu"}
    images = [toy_set.image_path(int(row)) for row in toy_set.split_rows("dev")]
    directory = frozen_captioner.directory
    # From cached features, which are half floats.
    cached = showtell.evaluate(directory, features=tmp_path, **data, **options)
    captioner = Captioner.load(directory, device="cpu")
    assert cached.texts == [caption.text for caption in captioner.caption(images, **options)]
    from_export = showtell.evaluate(exported.directory, **data, **options).texts
    captioner = Captioner.load(exported.directory)
    assert from_export == [caption.text for caption in captioner.caption(images[::-1], **options)][::-1]
    assert len(set(from_export)) > 2


def test_options_are_checked_before_anything_is_captioned(exported: Exported, toy_set: PreparedSet) -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'beam'\. Did you mean 'beam_size'"):
        showtell.evaluate(exported.directory, data=toy_set.directory, beam=2)
    with pytest.raises(ConfigError, match=r"--features cannot be used with .*: found an export"):
        showtell.evaluate(exported.directory, data=toy_set.directory, features=Path("x"))


@pytest.mark.thorough
def test_a_checkpoint_is_loaded_on_the_device_that_evaluation_chooses(
    tiny_checkpoint: Callable[[str], Path], toy_set: PreparedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.mps, "is_available", lambda: True)  # which captioning would choose
    found = showtell.evaluate(tiny_checkpoint("lstm"), data=toy_set.directory)
    assert (
        found.texts == showtell.evaluate(tiny_checkpoint("lstm"), data=toy_set.directory, device="cpu").texts
    )


def test_an_image_that_was_edited_after_prepare_is_not_evaluated(
    exported: Exported, toy_set: PreparedSet, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(toy_set.directory.parent, folder)
    prepare(folder / "captions.jsonl", tmp_path / "set")
    shutil.copyfile(folder / "0.png", folder / "20.png")
    with pytest.raises(DataError, match=r"^1 image has changed since .* was prepared: found 20\.png\. Run"):
        showtell.evaluate(exported.directory, data=tmp_path / "set", split="dev", device="cpu")
