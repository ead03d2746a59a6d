"""What sampling draws from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from showtell.config.generation import DecodingOptions
from showtell.generation.generate import filter_top_k_top_p, gumbel_noise


def keep_by_hand(row: Any, options: DecodingOptions) -> set[int]:
    """The tokens left of one row of log-probabilities, by the definitions."""
    scaled = row / options.temperature
    order = sorted((at for at in range(len(row)) if np.isfinite(row[at])), key=lambda at: -scaled[at])
    if options.top_k:
        order = order[: options.top_k]
    mass = np.exp(scaled[order]) / np.exp(scaled[order]).sum()
    kept = []
    for at, before in zip(order, np.cumsum(mass) - mass, strict=True):
        if before < options.top_p:
            kept.append(at)
    return set(kept)


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@given(
    seed=st.integers(0, 10_000),
    top_k=st.integers(0, 12),
    top_p=st.sampled_from([0.1, 0.5, 0.9, 1.0]),
    temperature=st.sampled_from([0.3, 1.0, 3.0]),
)
def test_top_k_and_top_p_keep_what_their_definitions_keep(
    make: Any, seed: int, top_k: int, top_p: float, temperature: float
) -> None:
    options = DecodingOptions(method="sample", top_k=top_k, top_p=top_p, temperature=temperature)
    log_probs = np.random.default_rng(seed).normal(size=(1, 1, 9))
    log_probs[0, 0, :2] = -np.inf
    found = np.asarray(filter_top_k_top_p(make(log_probs.copy()), options))[0, 0]
    assert {int(at) for at in np.flatnonzero(np.isfinite(found))} == keep_by_hand(log_probs[0, 0], options)
    kept = np.isfinite(found)
    np.testing.assert_allclose(found[kept], log_probs[0, 0][kept] / temperature)


def test_a_row_where_all_is_forbidden_stays_so() -> None:
    found = filter_top_k_top_p(np.full((1, 1, 4), -np.inf), DecodingOptions(method="sample", top_p=0.5))
    assert np.isneginf(found).all()


def test_noise_is_gumbel_and_each_sample_has_its_own() -> None:
    noise = gumbel_noise(3, 2, 5, 20_000)
    assert noise.dtype == np.float32
    assert noise.mean() == pytest.approx(0.5772, abs=0.03)
    assert noise.std() == pytest.approx(np.pi / 6**0.5, abs=0.03)
    np.testing.assert_array_equal(gumbel_noise(3, 1, 5, 20_000)[0], noise[0])
    assert not np.array_equal(noise[0], noise[1])
    assert not np.array_equal(gumbel_noise(3, 1, 6, 20_000)[0], noise[0])
