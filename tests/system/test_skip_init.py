"""Modules whose weights are loaded next are built without random values."""

from __future__ import annotations

import sys

import torch
from torch import nn

from showtell.system.skip_init import SkipRandomInit


def build() -> nn.Module:
    return nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3), nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))


def test_weights_have_their_shapes_and_nothing_is_drawn() -> None:
    expected = build().state_dict()
    before = torch.get_rng_state()
    with SkipRandomInit():
        module = build()
    assert torch.equal(torch.get_rng_state(), before)
    found = module.state_dict()
    assert {name: each.shape for name, each in found.items()} == {
        name: each.shape for name, each in expected.items()
    }
    module.load_state_dict(expected)
    assert all(torch.equal(each, expected[name]) for name, each in module.state_dict().items())
    build()
    assert not torch.equal(torch.get_rng_state(), before)


def test_shapes_alone_import_nothing_more_of_torch() -> None:
    with torch.device("meta"):
        torch.empty(1)
    before = set(sys.modules)
    with torch.device("meta"), SkipRandomInit():
        build()
    assert not {name for name in set(sys.modules) - before if name.startswith("torch.")}
