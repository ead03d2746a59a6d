"""The mean of several captioners' weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from showtell.checkpoints.checkpoint import Checkpoint, load_checkpoint
from showtell.checkpoints.soup import average_checkpoints, average_state_dicts
from showtell.errors import CheckpointError, ConfigError


@pytest.fixture
def two(frozen_captioner: Any) -> list[Checkpoint]:
    """A captioner, and the same a few steps further."""
    first, second = (load_checkpoint(frozen_captioner.directory) for _ in range(2))
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in second.model.decoder.parameters():
            weight.add_(torch.randn_like(weight))
    files = {**second.config["files"], "decoder.safetensors": "another"}
    return [first, replace(second, config={**second.config, "files": files})]


@pytest.mark.parametrize(("weights", "second"), [(None, 0.5), ((3.0, 1.0), 0.25), ((0.0, 2.0), 1.0)])
def test_every_weight_is_the_weighted_mean(
    two: list[Checkpoint], weights: tuple[float, ...] | None, second: float
) -> None:
    one, other = (checkpoint.model.decoder.state_dict() for checkpoint in two)
    for name, value in average_checkpoints(two, weights).model.decoder.state_dict().items():
        assert value.dtype == one[name].dtype
        torch.testing.assert_close(value, torch.lerp(one[name], other[name], second))


def test_neither_captioner_is_changed(two: list[Checkpoint]) -> None:
    before = [{name: value.clone() for name, value in one.model.decoder.state_dict().items()} for one in two]
    average_checkpoints(two)
    for one, kept in zip(two, before, strict=True):
        assert all(torch.equal(value, kept[name]) for name, value in one.model.decoder.state_dict().items())


def test_it_names_its_parts_and_has_no_score(two: list[Checkpoint]) -> None:
    soup = average_checkpoints(two, (1.0, 3.0))
    assert soup.config["merged_from"] == [
        {"decoder": two[0].config["files"]["decoder.safetensors"], "weight": 0.25},
        {"decoder": "another", "weight": 0.75},
    ]
    assert "scores" in two[1].config
    assert "scores" not in soup.config
    assert soup.model.encoder is two[0].model.encoder


def test_counters_are_not_averaged() -> None:
    steps = [{"steps": torch.tensor(4)}, {"steps": torch.tensor(7)}]
    assert average_state_dicts(steps, [0.5, 0.5])["steps"] == 4


@pytest.mark.parametrize("weights", [(1.0,), (1.0, -1.0), (0.0, 0.0), (1.0, float("nan"))])
def test_invalid_weights_are_refused(two: list[Checkpoint], weights: tuple[float, ...]) -> None:
    with pytest.raises(
        ConfigError, match=r"cannot be averaged: found the weights .*2 numbers, none negative"
    ):
        average_checkpoints(two, weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder": {"name": "attention", "hidden": 9}}, r"captioner 2 cannot be averaged .*'hidden': 9"),
        ({"files": {"tokenizer.json": "other"}}, "captioner 2 cannot be averaged .*another vocabulary"),
    ],
)
def test_what_is_unlike_the_first_is_refused(
    two: list[Checkpoint], change: dict[str, Any], message: str
) -> None:
    other = replace(two[1], config={**two[1].config, **change})
    with pytest.raises(CheckpointError, match=message):
        average_checkpoints([two[0], other])


def test_an_encoder_that_was_trained_along_is_refused(tiny_checkpoint: Any) -> None:
    trained = load_checkpoint(tiny_checkpoint("attention"))
    with pytest.raises(CheckpointError, match=r"a fine-tuned encoder.*a frozen one"):
        average_checkpoints([trained, trained])


def test_images_are_held_out_if_all_held_them_out(two: list[Checkpoint]) -> None:
    def holding_out(checkpoint: Checkpoint, count: int) -> Checkpoint:
        recipe = checkpoint.config["recipe"]
        recipe = {**recipe, "data": {**recipe["data"], "holdout": count}}
        return replace(checkpoint, config={**checkpoint.config, "recipe": recipe})

    mean = average_checkpoints([holding_out(two[0], 3), holding_out(two[1], 5)])
    assert mean.config["recipe"]["data"]["holdout"] == 3


def test_a_datastore_that_is_left_out_is_told(
    two: list[Checkpoint], capsys: pytest.CaptureFixture[str]
) -> None:
    files = {**two[0].config["files"], "datastore.safetensors": "ab"}
    indexed = replace(two[0], config={**two[0].config, "files": files})
    average_checkpoints([two[1], indexed])
    assert "datastore" not in capsys.readouterr().err
    average_checkpoints([indexed, two[1]])
    assert "no datastore but that of the last captioner" in capsys.readouterr().err
