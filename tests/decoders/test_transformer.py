"""The Transformer: a state that grows by a word a step, positions, and causality through every layer."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from showtell.config.decoders import TransformerSpec
from showtell.decoders.transformer import TransformerDecoder, sinusoidal_positions
from showtell.encoders.features import Features

LAYERS, HIDDEN = 3, 6


def make_decoder() -> TransformerDecoder:
    torch.manual_seed(0)
    spec = TransformerSpec(hidden=HIDDEN, layers=LAYERS, heads=2, feed_forward=8, region_dim=5)
    return TransformerDecoder(spec, vocabulary=9, encoder_width=7, pad_id=0).double().eval()


def make_features() -> Features:
    regions = torch.rand(2, 4, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Features(regions, regions.mean(1), torch.ones(2, 4, dtype=torch.bool))


def make_tokens(length: int = 6) -> Tensor:
    return torch.randint(1, 9, (2, 3, length), generator=torch.Generator().manual_seed(1))


def test_the_state_grows_by_a_word_a_step_and_what_is_there_stays() -> None:
    decoder = make_decoder()
    state = decoder.init_state(make_features(), 3)
    assert state.past.shape == (2, 3, 2, 0, 2 * LAYERS, HIDDEN // 2)
    for count, tokens in enumerate(make_tokens().unbind(2), start=1):
        before = state.past
        _, state, _ = decoder.step(tokens, state)
        assert state.past.shape == (2, 3, 2, count, 2 * LAYERS, HIDDEN // 2)
        assert torch.equal(state.past[:, :, :, :-1], before)


def test_a_state_that_changed_parents_is_that_of_the_parents_words() -> None:
    decoder, features, tokens = make_decoder(), make_features(), make_tokens(4)
    state, parents = decoder.init_state(features, 3), torch.tensor([[2, 0, 2], [1, 1, 0]])
    for part in tokens[:, :, :3].unbind(2):
        _, state, _ = decoder.step(part, state)
    found, _, _ = decoder.step(tokens[:, :, 3], state.reorder(parents))
    said = tokens.gather(1, parents.unsqueeze(2).expand(-1, -1, 4)).clone()
    said[:, :, 3] = tokens[:, :, 3]
    torch.testing.assert_close(found, decoder(features, said)[:, :, 3])


@pytest.mark.parametrize("changed", range(5))
def test_a_word_reaches_those_after_it_and_none_before(changed: int) -> None:
    decoder, features, tokens = make_decoder(), make_features(), make_tokens()
    others = tokens.clone()
    others[:, :, changed] = others[:, :, changed] % 8 + 1
    differs = (decoder.forward_hidden(features, tokens) != decoder.forward_hidden(features, others)).any(
        dim=3
    )
    assert not bool(differs[:, :, :changed].any())
    assert bool(differs[:, :, changed:].all())


def test_the_order_of_earlier_words_matters() -> None:
    decoder, features = make_decoder(), make_features()
    tokens = torch.tensor([1, 2, 3, 4]).expand(2, 3, 4)
    swapped = torch.tensor([2, 1, 3, 4]).expand(2, 3, 4)
    assert not torch.allclose(decoder(features, tokens)[:, :, 3], decoder(features, swapped)[:, :, 3])


def test_what_lies_behind_a_caption_changes_nothing_in_it() -> None:
    decoder, features, tokens = make_decoder(), make_features(), make_tokens()
    tokens[:, 1, 3:] = 0
    short, whole = (
        decoder.forward_hidden(features, tokens[:, :, :3]),
        decoder.forward_hidden(features, tokens),
    )
    torch.testing.assert_close(whole[:, :, :3], short)
    assert bool((whole[:, 1, 3:] == 0).all())


@pytest.mark.parametrize("width", [6, 7])
def test_positions_are_sines_and_cosines_of_ever_longer_waves(width: int) -> None:
    half = math.ceil(width / 2)
    found = sinusoidal_positions(3, torch.zeros(width, dtype=torch.float64))
    assert found.shape == (3, width)
    for place in range(3):
        for channel in range(width):
            angle = place / 10_000 ** (channel % half / half)
            wanted = math.cos(angle) if channel >= half else math.sin(angle)
            assert found[place, channel].item() == pytest.approx(wanted)
