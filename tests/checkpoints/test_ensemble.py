"""Several decoders as one: mean probabilities, each with its own state, one vocabulary and one encoder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.checkpoints.checkpoint import Checkpoint, load_checkpoint
from showtell.checkpoints.ensemble import Ensemble, make_ensemble
from showtell.checkpoints.hub import ENCODER
from showtell.config.decoders import AttentionSpec, LstmSpec, TransformerSpec
from showtell.config.generation import DecodingOptions
from showtell.decoders.registry import build_decoder
from showtell.encoders.features import Features
from showtell.errors import CheckpointError
from showtell.generation import SpecialTokens, search
from showtell.generation.ensemble import mean_probability
from showtell.inference.onednn_decoder import packed_decoder
from showtell.system.atomic import sha256_file, write_summed_json

SPECS = (
    AttentionSpec(embedding=6, hidden=5, attention=4, region_dim=7),
    LstmSpec(embedding=6, hidden=5),
    TransformerSpec(hidden=6, heads=2, feed_forward=7, region_dim=4),
)
SPECIALS = SpecialTokens(0, 1, 2, 3)


def members(*specs: Any) -> list[Any]:
    torch.manual_seed(0)
    return [
        build_decoder(spec, vocabulary=12, encoder_width=4, pad_id=0).eval().requires_grad_(False)
        for spec in specs
    ]


@pytest.fixture
def features() -> Features:
    regions = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1))
    return Features(regions, regions.mean(1), torch.ones(3, 5, dtype=torch.bool))


@pytest.mark.thorough
def test_the_next_word_is_as_likely_as_members_find_it_on_average(features: Features) -> None:
    each = members(*SPECS)
    ensemble, tokens = Ensemble(each), torch.ones(3, 2, dtype=torch.int64)
    state, alone = ensemble.init_state(features, 2), [one.init_state(features, 2) for one in each]
    for _ in range(3):
        logits, state, attention = ensemble.step(tokens, state)
        steps = [one.step(tokens, its) for one, its in zip(each, alone, strict=True)]
        alone = [step[1] for step in steps]
        expected = torch.stack([step[0].softmax(dim=2) for step in steps]).mean(dim=0)
        torch.testing.assert_close(logits.exp(), expected)
        assert attention is None, "one of them does not attend"
        tokens = logits.argmax(dim=2)


def test_two_of_the_same_say_what_one_says(features: Features) -> None:
    [one] = members(SPECS[0])
    options = DecodingOptions(beam_size=3, max_tokens=6)
    said = [
        [[hypothesis.ids for hypothesis in found] for found in search(decoder, features, options, SPECIALS)]
        for decoder in (one, Ensemble([one, one]), packed_decoder(Ensemble([one, one])))
    ]
    assert said[0] == said[1] == said[2]


def test_members_that_look_are_shown_looking_on_average(features: Features) -> None:
    each = members(SPECS[0], SPECS[2])
    _, _, attention = Ensemble(each).step(
        torch.ones(3, 2, dtype=torch.int64), Ensemble(each).init_state(features, 2)
    )
    assert attention is not None
    torch.testing.assert_close(attention.sum(dim=2), torch.ones(3, 2))


def test_what_one_finds_impossible_may_still_be_said() -> None:
    sure, doubting = torch.tensor([10.0, -torch.inf]), torch.tensor([-torch.inf, 10.0])
    torch.testing.assert_close(mean_probability([sure, doubting]).exp(), torch.tensor([0.5, 0.5]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": {"tokenizer.json": "other"}}, r"captioner 2 cannot join an ensemble.*another vocabulary"),
        ({"encoder": {"identity": {"name": "resnet18"}}}, r"another encoder: name is resnet18, not resnet50"),
    ],
)
def test_captioners_of_different_words_or_eyes_are_refused(change: dict[str, Any], message: str) -> None:
    config = {"files": {"tokenizer.json": "same"}, "encoder": {"identity": {"name": "resnet50"}}}

    class Tokens:
        size = 12

    first, second = (
        Checkpoint(CaptioningModel(decoder), Tokens(), DecodingOptions(), values)  # type: ignore[arg-type]
        for decoder, values in zip(members(SPECS[1], SPECS[1]), (config, config | change), strict=True)
    )
    with pytest.raises(CheckpointError, match=message):
        make_ensemble([first, second])


def test_captioners_with_encoders_of_their_own_are_refused(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    own = Path(shutil.copytree(tiny_checkpoint("attention"), tmp_path / "own"))
    encoder = load_file(own / ENCODER)
    save_file({name: 2 * tensor for name, tensor in encoder.items()}, own / ENCODER)
    config = json.loads((own / "config.json").read_text())
    config["files"][ENCODER] = sha256_file(own / ENCODER)
    write_summed_json(own / "config.json", config)
    with pytest.raises(CheckpointError, match=r"another encoder: fine-tuned with its own decoder"):
        make_ensemble([load_checkpoint(tiny_checkpoint("attention")), load_checkpoint(own)])
