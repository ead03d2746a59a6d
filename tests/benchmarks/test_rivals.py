"""The rivals do the same work as we do: the same captions, the same batches, an honest network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from benchmarks.rivals.tutorial_beam import batched_beam, list_beam
from benchmarks.rivals.tutorial_decoder import TutorialDecoder, tutorial_step

from showtell.config.decoders import AttentionSpec
from showtell.config.generation import DecodingOptions
from showtell.decoders.registry import build_decoder
from showtell.encoders.features import Features
from showtell.generation import SpecialTokens, search

SPECIALS = SpecialTokens(pad=0, bos=1, eos=2, unk=3)
VOCABULARY, WIDTH, REGIONS = 13, 8, 4


@pytest.mark.thorough
@pytest.mark.parametrize("rival", [list_beam, batched_beam])
@pytest.mark.parametrize("beam_size", [1, 3, 5])
@pytest.mark.parametrize("words", [(0, 9), (7, 7)])
def test_the_tutorial_beam_finds_our_captions(
    rival: Callable[..., list[list[int]]], beam_size: int, words: tuple[int, int]
) -> None:
    torch.manual_seed(4)
    spec = AttentionSpec(embedding=8, hidden=8, attention=8, region_dim=8)
    decoder = build_decoder(spec, vocabulary=VOCABULARY, encoder_width=WIDTH, pad_id=0).eval()
    for weight in decoder.parameters():
        torch.nn.init.normal_(weight)
    decoder.output.bias.data[SPECIALS.eos] += 3.0  # so that captions end, at different words
    regions = torch.randn(12, REGIONS, WIDTH)
    features = Features(regions, regions.mean(1), torch.ones(12, REGIONS, dtype=torch.bool))
    length: dict[str, Any] = {"min_tokens": words[0], "max_tokens": words[1]}
    with torch.inference_mode():
        ours = search(decoder, features, DecodingOptions(beam_size=beam_size, **length), SPECIALS)
        theirs = rival(decoder, features, SPECIALS, beam_size=beam_size, **length)
    assert theirs == [found[0].ids for found in ours]
    assert len({tuple(ids) for ids in theirs}) > 3
    assert words[0] or len({len(ids) for ids in theirs}) > 1


@pytest.mark.thorough
@pytest.mark.parametrize("memory", [None, 6])
def test_the_tutorial_decoder_learns(memory: int | None) -> None:
    torch.manual_seed(0)
    decoder = TutorialDecoder(VOCABULARY, WIDTH, 16, 0.0, memory)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.02)
    regions = torch.randn(3, REGIONS, WIDTH)
    tokens = torch.randint(4, VOCABULARY, (3, 2, 6))
    tokens[1, :, 4:] = SPECIALS.pad
    losses = [
        tutorial_step(decoder, optimizer, regions, tokens, pad_id=SPECIALS.pad, clip=5.0) for _ in range(40)
    ]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.thorough
def test_a_word_of_the_tutorial_decoder_depends_on_those_before_it_alone() -> None:
    decoder = TutorialDecoder(VOCABULARY, WIDTH, 16, 0.0).eval()
    regions, tokens = torch.randn(2, REGIONS, WIDTH), torch.randint(4, VOCABULARY, (2, 6))
    other = tokens.clone()
    other[:, 4:] = 5
    with torch.no_grad():
        torch.testing.assert_close(decoder(regions, tokens)[:, :4], decoder(regions, other)[:, :4])
