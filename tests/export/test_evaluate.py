"""`showtell.evaluate` scores a checkpoint and its export alike, by the same function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import showtell
from showtell.data.prepared import PreparedSet
from showtell.errors import ConfigError
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


def test_options_are_checked_before_anything_is_captioned(exported: Exported, toy_set: PreparedSet) -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'beam'\. Did you mean 'beam_size'"):
        showtell.evaluate(exported.directory, data=toy_set.directory, beam=2)
    with pytest.raises(ConfigError, match=r"--features cannot be used with .*: found an export"):
        showtell.evaluate(exported.directory, data=toy_set.directory, features=Path("x"))


def test_a_checkpoint_is_loaded_on_the_device_that_evaluation_chooses(
    tiny_checkpoint: Callable[[str], Path], toy_set: PreparedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.mps, "is_available", lambda: True)  # which captioning would choose
    found = showtell.evaluate(tiny_checkpoint("lstm"), data=toy_set.directory)
    assert (
        found.texts == showtell.evaluate(tiny_checkpoint("lstm"), data=toy_set.directory, device="cpu").texts
    )
