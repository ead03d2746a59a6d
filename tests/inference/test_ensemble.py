"""Ensembles that caption: of checkpoints and of exports."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.serve.servers import picture

from showtell.errors import CheckpointError, ConfigError
from showtell.inference.captioner import Captioner
from showtell.system.atomic import sha256_file, write_summed_json

IMAGES = [picture(seed) for seed in range(6)]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"beam_size": 4, "beam_groups": 2},
    {"samples": 3, "without_replacement": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_captioner_with_itself_captions_as_it_does_alone(
    tiny_checkpoint: Callable[[str], Path], exported: Any, options: dict[str, Any]
) -> None:
    for place in (tiny_checkpoint("attention"), exported.directory):
        alone = Captioner.load(place, device="cpu")
        ensemble = Captioner.load(place, device="cpu", ensemble_with=[place])
        for one, other in zip(
            ensemble.caption(IMAGES, **options), alone.caption(IMAGES, **options), strict=True
        ):
            assert [each.text for each in one.alternatives] == [each.text for each in other.alternatives]
            assert one.log_prob == pytest.approx(other.log_prob, abs=1e-3)
        assert ensemble.networks == "small encoder, attention + attention decoder"
        assert ensemble.facts["ensemble_with"] == [alone.facts]
        with pytest.raises(ConfigError, match="cannot be saved"):
            ensemble.save_pretrained(Path("anywhere"))


def test_a_checkpoint_and_an_export_are_no_ensemble(
    tiny_checkpoint: Callable[[str], Path], exported: Any
) -> None:
    first = tiny_checkpoint("attention")
    with pytest.raises(ConfigError, match="found checkpoints and exports; expected one kind"):
        Captioner.load(first, ensemble_with=[exported.directory])


def test_exports_with_encoders_of_their_own_are_no_ensemble(exported: Any, tmp_path: Path) -> None:
    own = Path(shutil.copytree(exported.directory, tmp_path / "own"))
    weights = own / "encoder.onnx.data"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    config = json.loads((own / "config.json").read_text())
    config["files"][weights.name] = sha256_file(weights)
    write_summed_json(own / "config.json", config)
    with pytest.raises(CheckpointError, match=r"own cannot join an ensemble with .*another encoder"):
        Captioner.load(exported.directory, ensemble_with=[own])
