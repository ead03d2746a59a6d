"""Top-down attention: what the language LSTM said comes back to the attention LSTM."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from showtell.config.decoders import TopDownSpec
from showtell.decoders.top_down import TopDownDecoder
from showtell.encoders.features import Features

HIDDEN = 5


def make_decoder() -> TopDownDecoder:
    torch.manual_seed(0)
    spec = TopDownSpec(embedding=6, hidden=HIDDEN, attention=4, region_dim=3)
    return TopDownDecoder(spec, vocabulary=9, encoder_width=7, pad_id=0).double().eval()


def make_features(seed: int) -> Features:
    """Regions by seed; the picture as a whole is always the same."""
    regions = torch.rand(2, 3, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Features(regions, torch.ones(2, 7, dtype=torch.float64), torch.ones(2, 3, dtype=torch.bool))


def asking(decoder: TopDownDecoder, features: Features, words: int) -> Tensor:
    """What the attention LSTM holds after some words, [P, H]."""
    state = decoder.init_state(features, 1)
    for token in range(1, words + 1):
        _, state, _ = decoder.step(torch.full((2, 1), token), state)
    return state.hidden[:, 0, 0]


@pytest.mark.parametrize("way_back", [True, False])
def test_what_was_seen_and_said_steers_the_next_look_by_the_way_back_alone(way_back: bool) -> None:
    decoder = make_decoder()
    if not way_back:
        with torch.no_grad():
            decoder.recurrent_proj.weight[:, HIDDEN:] = 0
    first, second = ([asking(decoder, make_features(seed), words) for seed in (0, 1)] for words in (1, 2))
    assert torch.equal(*first)
    assert torch.equal(*second) == (not way_back)


def test_two_steps_are_the_papers_equations() -> None:
    decoder, features = make_decoder(), make_features(0)
    state = decoder.init_state(features, 1)
    regions = torch.relu(decoder.region_proj(features.regions))  # [P, R, M]
    whole = decoder.image_input_proj(torch.relu(decoder.image_proj(features.pooled)))
    hidden = [torch.zeros(2, HIDDEN, dtype=torch.float64) for _ in range(2)]
    cells = list(hidden)

    def update(gates: Tensor, number: int) -> None:
        write, keep, content, expose = gates.chunk(4, dim=1)
        cells[number] = keep.sigmoid() * cells[number] + write.sigmoid() * content.tanh()
        hidden[number] = expose.sigmoid() * cells[number].tanh()

    for token in (3, 5):
        logits, state, attention = decoder.step(torch.full((2, 1), token), state)
        word = decoder.input_proj(decoder.word_embedding(torch.full((2,), token)))
        update(word + whole + decoder.recurrent_proj(torch.cat(hidden, dim=1)), 0)
        a = decoder.energy(torch.tanh(decoder.key_proj(regions) + decoder.query_proj(hidden[0]).unsqueeze(1)))
        weights = a.softmax(dim=1)  # [P, R, 1]
        found = (weights * regions).sum(dim=1)
        update(decoder.language_proj(torch.cat((found, hidden[0], hidden[1]), dim=1)), 1)
        torch.testing.assert_close(logits.squeeze(1), decoder.output(hidden[1]).float())
        torch.testing.assert_close(attention.squeeze(1), weights.squeeze(2).float())
