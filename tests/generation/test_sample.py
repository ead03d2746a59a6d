"""What sampling draws from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from showtell.config.generation import DecodingOptions
from showtell.generation.generate import filter_top_k_top_p
from showtell.generation.noise import gumbel_noise, sampling_keys


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


def test_noise_is_gumbel_and_each_image_sample_and_step_has_its_own() -> None:
    noise = gumbel_noise(3, [11, 2**64 - 1], 2, 5, 20_000)
    assert (noise.dtype, noise.shape) == (np.float32, (2, 2, 20_000))
    flat = noise.reshape(4, -1)
    assert flat.mean(axis=1) == pytest.approx([0.5772] * 4, abs=0.03)
    assert flat.std(axis=1) == pytest.approx([np.pi / 6**0.5] * 4, abs=0.03)
    later, other_seed = gumbel_noise(3, [11], 1, 6, 20_000)[0], gumbel_noise(4, [11], 1, 5, 20_000)[0]
    correlations = np.corrcoef(np.concatenate((flat, later, other_seed)))
    assert np.abs(correlations - np.eye(6)).max() < 0.03
    np.testing.assert_array_equal(gumbel_noise(3, [2**64 - 1], 1, 5, 20_000)[0, 0], noise[1, 0])


def test_equal_images_have_equal_keys_and_others_do_not() -> None:
    options, images = DecodingOptions(method="sample"), np.zeros((4, 5, 5, 3), np.uint8)
    images[1, 4, 4, 2] = 1
    images[2] = images[1]
    keys = sampling_keys(images, options)
    assert keys is not None
    assert keys[1] == keys[2] != keys[0] == keys[3]
    assert all(0 <= key < 2**64 for key in keys)
    assert sampling_keys(images[:, :, ::-1], options)[0] == keys[0]  # type: ignore[index]
    assert sampling_keys(images, DecodingOptions(method="greedy")) is None
