"""Captions as flat ids, in little memory."""

from __future__ import annotations

import numpy as np
import pytest

from showtell.data.token_table import TokenTable

GROUPS = [["1 2 3", "4"], [], ["5 6", "", "7 8 9 10"]]


def encode(text: str) -> list[int]:
    return [int(word) for word in text.split()]


@pytest.mark.parametrize("vocabulary", [11, 2**16, 2**16 + 1, 2**20])
def test_what_goes_in_comes_out(vocabulary: int) -> None:
    groups = [*GROUPS, [f"{vocabulary - 1}"]]
    flat = TokenTable(groups, encode, vocabulary=vocabulary)
    assert len(flat) == 4
    assert [[ids.tolist() for ids in flat[place]] for place in range(4)] == [
        [encode(text) for text in group] for group in groups
    ]


def test_an_id_takes_two_bytes_where_two_are_enough() -> None:
    group = [["1 2 3 4 5 6 7 8 9 10"] * 50] * 40
    short = TokenTable(group, encode, vocabulary=2**16)
    wide = TokenTable(group, encode, vocabulary=2**16 + 1)
    assert wide.nbytes - short.nbytes == 2 * 50 * 40 * 10
    # Two bytes per id, four per caption and four per image, and one initial offset of each.
    assert short.nbytes == 2 * 50 * 40 * 10 + 4 * (50 * 40 + 1) + 4 * (40 + 1)


def test_captions_are_views_of_one_array() -> None:
    flat = TokenTable(GROUPS, encode, vocabulary=11)
    assert np.shares_memory(flat[0][0], flat[2][2].base if flat[2][2].base is not None else flat[2][2])
