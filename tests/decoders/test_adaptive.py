"""Adaptive attention: the paper's equations, and a sentinel that shares each word with what is seen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from showtell.config.decoders import AdaptiveSpec
from showtell.decoders.adaptive import AdaptiveDecoder, AdaptiveState
from showtell.encoders.features import Features

SPEC = AdaptiveSpec(embedding=6, hidden=5, attention=4)


def make_decoder() -> AdaptiveDecoder:
    torch.manual_seed(0)
    return AdaptiveDecoder(SPEC, vocabulary=9, encoder_width=7, pad_id=0).double().eval()


def make_features(seed: int = 0) -> Features:
    regions = torch.rand(2, 3, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Features(regions, torch.ones(2, 7, dtype=torch.float64), torch.ones(2, 3, dtype=torch.bool))


def share_of_the_sentinel(decoder: AdaptiveDecoder, state: AdaptiveState) -> Tensor:
    hidden = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return decoder._attend(hidden, hidden.tanh(), state)[2]


def test_a_step_is_the_papers_equations() -> None:
    decoder, features = make_decoder(), make_features()
    before = decoder.init_state(features, 1)
    _, before, _ = decoder.step(torch.tensor([[1], [2]]), before)
    logits, after, attention = decoder.step(torch.tensor([[3], [4]]), before)
    for picture, token in enumerate((3, 4)):
        regions = torch.relu(decoder.region_proj(features.regions[picture]))  # [R, H]
        whole = torch.relu(decoder.image_proj(features.pooled[picture]))
        read = torch.cat((decoder.word_embedding(torch.tensor(token)), whole))
        hidden, cell = after.hidden[picture, 0], after.cell[picture, 0]
        gate = torch.sigmoid(decoder.sentinel_gate(torch.cat((read, before.hidden[picture, 0]))))
        sentinel = gate * torch.tanh(cell)
        asked = decoder.query_proj(hidden)
        z = decoder.energy(torch.tanh(decoder.key_proj(regions) + asked)).squeeze(1)  # [R]
        known = decoder.energy(torch.tanh(decoder.sentinel_key_proj(sentinel) + asked))
        share = torch.cat((z, known)).softmax(0)[-1]
        seen = share * sentinel + (1 - share) * (z.softmax(0) @ regions)
        torch.testing.assert_close(logits[picture, 0], decoder.output(seen + hidden).float())
        torch.testing.assert_close(attention[picture, 0], z.softmax(0).float())


def test_the_sentinel_takes_a_part_of_every_word_and_never_all_or_nothing() -> None:
    decoder = make_decoder()
    share = share_of_the_sentinel(decoder, decoder.init_state(make_features(), 1))
    assert bool(((share > 0) & (share < 1)).all())
    assert len(share.unique()) > 1


@pytest.mark.parametrize(("energy", "expected"), [(1e3, 1.0), (-1e3, 0.0)], ids=["all", "nothing"])
def test_a_sentinel_that_wins_hides_the_regions_and_one_that_loses_says_nothing(
    energy: float, expected: float
) -> None:
    decoder: Any = make_decoder()
    with torch.no_grad():
        # Regions get tanh(0) = 0 in the first channel of the hidden layer, the sentinel tanh(9).
        decoder.key_proj.weight[0], decoder.key_proj.bias[0], decoder.query_proj.weight[0] = 0, 0, 0
        decoder.sentinel_key_proj.weight[0], decoder.sentinel_key_proj.bias[0] = 0, 9
        decoder.energy.weight[0, 0] = energy
    share = share_of_the_sentinel(decoder, decoder.init_state(make_features(), 1))
    torch.testing.assert_close(share, torch.full_like(share, expected))
    tokens = torch.tensor([[[1, 2, 3]], [[4, 5, 6]]])
    here, there = (decoder(make_features(seed), tokens) for seed in (0, 1))
    assert torch.equal(here, there) == (expected == 1.0)
    _, _, attention = decoder.step(tokens[..., 0], decoder.init_state(make_features(), 1))
    torch.testing.assert_close(attention.sum(2), torch.ones(2, 1))
