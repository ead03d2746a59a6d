"""What may not come next."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from showtell.config.generation import DecodingOptions
from showtell.generation.constraints import apply_constraints, repeated_ngrams
from showtell.generation.hypothesis import SpecialTokens

SPECIALS = SpecialTokens(pad=0, bos=1, eos=2, unk=3)


@given(
    st.lists(st.lists(st.integers(4, 6), min_size=5, max_size=5), min_size=1, max_size=3), st.integers(1, 4)
)
def test_exactly_the_tokens_that_would_repeat_an_n_gram_are_found(rows: list[list[int]], size: int) -> None:
    ids = np.array(rows)[:, None]
    found = {(int(p), int(token)) for p, _, token in zip(*repeated_ngrams(ids, size), strict=True)}
    for picture, row in enumerate(rows):
        said = {tuple(row[at : at + size]) for at in range(len(row) - size + 1)}
        for token in range(4, 8):
            again = tuple([*row, token][-size:]) in said
            assert ((picture, token) in found) == again


@pytest.mark.parametrize("use_torch", [False, True])
def test_the_allowed_keep_their_log_probabilities(use_torch: bool) -> None:
    values = np.full((1, 2, 8), -1.5)
    ids = np.array([[[4, 5, 4], [4, 5, 6]]])
    options = DecodingOptions(min_tokens=4, no_repeat_ngram_size=2)
    found = np.asarray(
        apply_constraints(torch.from_numpy(values) if use_torch else values, ids, options, SPECIALS)
    )
    allowed = [[[token for token in range(8) if row[token] == -1.5] for row in found[0]]]
    assert allowed == [[[4, 6, 7], [4, 5, 6, 7]]]
    assert set(found.ravel()) == {-1.5, -math.inf}


def test_the_end_may_come_when_there_are_words_enough() -> None:
    ids = np.zeros((1, 1, 4), np.int64)
    found = apply_constraints(np.zeros((1, 1, 8)), ids, DecodingOptions(min_tokens=4), SPECIALS)
    assert found[0, 0, SPECIALS.eos] == 0
