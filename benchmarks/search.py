"""Beam search alone: 32 images, beam size 5, 20 words, a vocabulary of 10,000."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.harness import Row, Setting, compare, seconds_of, take_turns
from benchmarks.material import VOCABULARY
from benchmarks.rivals.tutorial_beam import batched_beam, list_beam
from showtell.config.decoders import AttentionSpec
from showtell.config.generation import DecodingOptions
from showtell.decoders.registry import build_decoder
from showtell.encoders.features import Features
from showtell.generation import SpecialTokens, search

NUM_IMAGES, BEAM_SIZE, WORDS = 32, 5, 20
REGIONS, WIDTH = 49, 2048
SPECIALS = SpecialTokens(pad=0, bos=1, eos=2, unk=3)


def measure(setting: Setting) -> Iterator[Row]:
    """Yield beam search against greedy search and against loops over images."""
    torch.manual_seed(0)
    decoder = build_decoder(AttentionSpec(), vocabulary=VOCABULARY, encoder_width=WIDTH, pad_id=0).eval()
    regions = torch.rand(NUM_IMAGES, REGIONS, WIDTH)
    features = Features(regions, regions.mean(1), torch.ones(NUM_IMAGES, REGIONS, dtype=torch.bool))
    length = {"min_tokens": WORDS, "max_tokens": WORDS}

    def ours(options: DecodingOptions) -> None:
        with torch.inference_mode():
            search(decoder, features, options, SPECIALS)

    def loop(rival) -> None:  # type: ignore[no-untyped-def]
        with torch.inference_mode():
            rival(decoder, features, SPECIALS, beam_size=BEAM_SIZE, **length)

    timings = take_turns(
        {
            "beam search": lambda: ours(DecodingOptions(beam_size=BEAM_SIZE, **length)),
            "greedy": lambda: ours(DecodingOptions(method="greedy", **length)),
        },
        setting.rounds(5),
    )
    work = f"beam search, {NUM_IMAGES} images × {BEAM_SIZE} beams × {WORDS} words, vocabulary 10,000"
    yield compare(
        work, "greedy search", timings, ours="beam search", theirs="greedy", target=5.0, at_most=True
    )
    timings = take_turns(
        {
            "beam search": lambda: ours(DecodingOptions(beam_size=BEAM_SIZE, **length)),
            "a loop with lists": lambda: loop(list_beam),
        },
        setting.rounds(2),
        warm_up=False,
    )
    speedup = timings["a loop with lists"].median / seconds_of(lambda: loop(batched_beam))
    yield compare(
        work,
        "a loop over images with lists",
        timings,
        ours="beam search",
        theirs="a loop with lists",
        target=20.0,
        lists_over_batched=speedup,
    )
