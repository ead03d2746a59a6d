"""Given captions have the scores that a search would have given them."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.generation.test_search import SPECIALS, Pictures, TableDecoder, pictures

from showtell.config.generation import DecodingOptions
from showtell.generation import Hypothesis, SpecialTokens, score_captions, search

NAMES = (0.3, 1.7, 2.9)


def score(features: Any, captions: list[list[int]], **options: Any) -> list[Hypothesis | None]:
    return score_captions(
        TableDecoder(), features, captions, DecodingOptions(**options), SPECIALS, attention=True
    )


@pytest.mark.thorough
@pytest.mark.parametrize("library", ["numpy", "torch"])
@given(beam_size=st.integers(1, 6), max_tokens=st.integers(1, 6), block=st.integers(0, 2))
def test_captions_of_a_beam_get_the_scores_of_the_beam(
    library: str, beam_size: int, max_tokens: int, block: int
) -> None:
    names: Any = np.array(NAMES)[:, None]
    features = Pictures(torch.from_numpy(names) if library == "torch" else names)
    options = DecodingOptions(
        beam_size=beam_size, max_tokens=max_tokens, no_repeat_ngram_size=block, length_penalty=0.6
    )
    found = search(TableDecoder(), features, options, SPECIALS, attention=True)
    for rank in range(min(map(len, found))):
        theirs = [several[rank] for several in found]
        captions = [each.ids for each in theirs]
        scored = score_captions(TableDecoder(), features, captions, options, SPECIALS, attention=True)
        for each, other in zip(scored, theirs, strict=True):
            assert each is not None
            assert each.ids == other.ids
            assert each.score == pytest.approx(other.score, abs=1e-9)
            assert each.token_log_probs == pytest.approx(other.token_log_probs, abs=1e-9)
            assert each.attention == pytest.approx(other.attention, abs=1e-6)


def test_images_do_not_influence_each_other() -> None:
    captions = [[4, 5, 6], [7], [8, 4, 8, 4, 5]]
    together = score(pictures(*NAMES), captions)
    for row, name in enumerate(NAMES):
        (alone,) = score(pictures(name), [captions[row]])
        assert alone is not None
        assert together[row] is not None
        assert (alone.ids, alone.score) == (together[row].ids, together[row].score)
        assert alone.ids == captions[row]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [[4], [4, 5, 4, 5], [4, 5, 6]]),
        ({"max_tokens": 3}, [[4], [4, 5, 6]]),
        ({"min_tokens": 2}, [[4, 5, 4, 5], [4, 5, 6]]),
        ({"no_repeat_ngram_size": 2}, [[4], [4, 5, 6]]),
    ],
)
def test_captions_that_the_options_forbid_are_left_out(
    options: dict[str, Any], kept: list[list[int]]
) -> None:
    found = score(pictures(0.3, 0.3, 0.3), [[4], [4, 5, 4, 5], [4, 5, 6]], **options)
    assert [each.ids for each in found if each is not None] == kept


def test_special_tokens_are_in_no_caption() -> None:
    assert score(pictures(0.3), [[4, SpecialTokens(0, 1, 2, 3).unk]]) == [None]
