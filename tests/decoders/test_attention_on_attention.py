"""Attention on attention: a gate between what is found and what is said, and regions that look at one another."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from showtell.config.decoders import AttentionOnAttentionSpec
from showtell.decoders.attention_on_attention import (
    AoARefiner,
    AttentionOnAttentionDecoder,
    attention_on_attention,
)
from showtell.encoders.features import Features

WIDTH = 4


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_decoder(refine_layers: int = 1) -> AttentionOnAttentionDecoder:
    torch.manual_seed(0)
    spec = AttentionOnAttentionSpec(
        embedding=6, hidden=5, region_dim=WIDTH, heads=2, refine_layers=refine_layers
    )
    return AttentionOnAttentionDecoder(spec, vocabulary=9, encoder_width=7, pad_id=0).double().eval()


def make_features(seed: int = 0) -> Features:
    regions = draw(2, 3, 7, seed=seed).abs()
    return Features(regions, regions.mean(1), torch.ones(2, 3, dtype=torch.bool))


def test_information_of_query_and_findings_passes_a_gate_of_both() -> None:
    found, query, layer = draw(3, WIDTH), draw(3, WIDTH, seed=1), nn.Linear(2 * WIDTH, 2 * WIDTH).double()
    both = torch.cat((found, query), dim=1)
    information = both @ layer.weight[:WIDTH].t() + layer.bias[:WIDTH]
    gate = torch.sigmoid(both @ layer.weight[WIDTH:].t() + layer.bias[WIDTH:])
    torch.testing.assert_close(attention_on_attention(found, query, layer), gate * information)


def test_a_closed_gate_lets_nothing_of_the_regions_through() -> None:
    decoder = make_decoder(refine_layers=0)
    with torch.no_grad():
        decoder.aoa_proj.bias[WIDTH:] = -1e4
    logits, state, attention = decoder.step(
        torch.ones(2, 1, dtype=torch.int64), decoder.init_state(make_features(), 1)
    )
    assert bool((state.context == 0).all())
    torch.testing.assert_close(logits, decoder.output.bias.float().expand(2, 1, -1))
    torch.testing.assert_close(attention.sum(2), torch.ones(2, 1))


def test_what_was_found_is_read_with_the_next_word() -> None:
    decoder, features = make_decoder(), make_features()
    tokens = torch.ones(2, 1, dtype=torch.int64)
    _, state, _ = decoder.step(tokens, decoder.init_state(features, 1))
    first, second = decoder.init_state(features, 1), state
    word = decoder.input_proj(decoder.word_embedding(tokens))
    for before in (first, second):
        seen = before.image.unsqueeze(1) + before.context
        gates = word + decoder.recurrent_proj(torch.cat((seen, before.hidden), dim=2))
        write, keep, content, expose = gates.chunk(4, dim=2)
        cell = keep.sigmoid() * before.cell + write.sigmoid() * content.tanh()
        _, after, _ = decoder.step(tokens, before)
        torch.testing.assert_close(after.hidden, expose.sigmoid() * cell.tanh())
    assert bool((first.context == 0).all())
    assert bool((second.context != 0).any())


@pytest.mark.parametrize("refine_layers", [0, 1, 3])
def test_as_many_layers_refine_the_regions_as_were_asked_for(refine_layers: int) -> None:
    decoder = make_decoder(refine_layers)
    assert len(decoder.refine_layers) == refine_layers
    regions = torch.relu(decoder.region_proj(make_features().regions))
    for layer in decoder.refine_layers:
        regions = layer(regions, make_features().mask)
    torch.testing.assert_close(decoder.init_state(make_features(), 1).image, regions.mean(dim=1))


def test_a_refined_region_knows_of_the_others_that_are_real_and_of_no_other() -> None:
    torch.manual_seed(0)
    refiner = AoARefiner(WIDTH, 2, 0.0).double()
    mask = torch.tensor([[True, True, False]])
    plain = draw(1, 3, WIDTH)
    moved = {place: plain.clone() for place in range(3)}
    for place, regions in moved.items():
        regions[0, place] += 1
    refined = {place: refiner(regions, mask)[0, 0] for place, regions in moved.items()}
    before = refiner(plain, mask)[0, 0]
    assert not torch.equal(refined[1], before)
    torch.testing.assert_close(refined[2], before, rtol=0, atol=0)
    torch.testing.assert_close(before.mean(), torch.zeros((), dtype=torch.float64))  # normalised
