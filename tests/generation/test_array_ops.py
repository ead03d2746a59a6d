"""The array operations that differ between torch and numpy do the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from showtell.errors import CheckpointError
from showtell.generation.array_ops import like, log_softmax, take, to_numpy, top_k

MAKERS = pytest.mark.parametrize("make", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
Make = Callable[[Any], Any]


@MAKERS
@given(st.integers(0, 1000), st.integers(1, 9), st.sampled_from([7, 203]))
def test_top_k_is_a_whole_sort_cut_short(make: Make, seed: int, count: int, size: int) -> None:
    values = np.random.default_rng(seed).normal(size=(2, 3, size))
    best, places = top_k(make(values), count)
    order = np.argsort(-values, axis=-1, kind="stable")[..., :count]
    np.testing.assert_array_equal(places, order)
    np.testing.assert_array_equal(best, np.take_along_axis(values, order, axis=-1))
    assert (best.dtype, places.dtype) == (np.float64, np.int64)


@MAKERS
@pytest.mark.parametrize(
    ("count", "expected"), [(5, [1, 3, 0, 2, 4]), (4, [1, 3, 0, 2]), (3, [1, 3, 0]), (1, [1])]
)
def test_equal_values_come_in_the_order_of_their_indices(make: Make, count: int, expected: list[int]) -> None:
    _, places = top_k(make(np.array([[1.0, 2.0, 1.0, 2.0, 1.0]])), count)
    assert places.tolist() == [expected]


@pytest.mark.thorough
@MAKERS
@given(
    values=arrays(
        st.sampled_from([np.float32, np.float64]),
        array_shapes(min_dims=3, max_dims=3, max_side=40),
        elements=st.sampled_from([-np.inf, -1.0, 0.0, 2.0]),
    ),
    count=st.integers(1, 45),
)
def test_equal_values_at_the_edge_are_those_of_the_lowest_indices(
    make: Make, values: Any, count: int
) -> None:
    order = np.argsort(-values, axis=-1, kind="stable")[..., :count]
    best, places = top_k(make(values), count)
    np.testing.assert_array_equal(places, order)
    np.testing.assert_array_equal(best, np.take_along_axis(values, order, axis=-1))


@MAKERS
def test_a_long_row_of_equal_values_keeps_the_lowest_indices(make: Make) -> None:
    values = np.zeros((1, 5, 2630), np.float32)
    values[0, 3, 2000] = 1.0
    _, places = top_k(make(values), 4)
    assert places[0].tolist() == [[0, 1, 2, 3]] * 3 + [[2000, 0, 1, 2]] + [[0, 1, 2, 3]]


@MAKERS
def test_log_softmax_is_exact_stable_and_leaves_its_input(make: Make) -> None:
    logits = np.array([[1e4, 1e4 - 1, -np.inf], [0.0, 0.0, 0.0]])
    given_ = make(logits.copy())
    found = to_numpy(log_softmax(given_))
    assert np.exp(found).sum(axis=-1) == pytest.approx([1, 1])
    assert found[0] == pytest.approx([-0.31326168751822, -1.31326168751822, -np.inf])
    np.testing.assert_array_equal(to_numpy(given_), logits)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(torch.bfloat16, torch.float32), (torch.float16, torch.float32), (torch.float64, torch.float64)],
)
def test_log_probabilities_are_float32_unless_the_logits_hold_more(dtype: Any, expected: Any) -> None:
    assert log_softmax(torch.zeros(1, 1, 5, dtype=dtype)).dtype == expected


@MAKERS
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_refused_wherever_it_stands(make: Make, bad: float) -> None:
    for place in np.ndindex(2, 2, 4):
        logits = np.zeros((2, 2, 4))
        logits[place] = bad
        with pytest.raises(
            CheckpointError, match="the decoder's logits cannot be searched: found NaN or infinity"
        ):
            log_softmax(make(logits))


@MAKERS
def test_values_are_taken_by_their_places(make: Make) -> None:
    values = make(np.arange(12.0).reshape(2, 2, 3))
    assert take(values, np.array([[[2], [0]], [[1], [1]]])).tolist() == [[[2.0], [3.0]], [[7.0], [10.0]]]


def test_host_values_become_arrays_of_the_same_kind() -> None:
    assert isinstance(like(np.zeros(2), np.ones(1)), np.ndarray)
    assert like(np.zeros(2, np.int64), torch.ones(1)).dtype == torch.int64
    assert isinstance(to_numpy(torch.ones(1, requires_grad=True)), np.ndarray)
