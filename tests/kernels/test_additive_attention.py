"""Energies of additive attention: the numbers of the plain formula, forward and backward, for any size of blocks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from showtell.kernels import additive_attention
from showtell.kernels.additive_attention import additive_energy, plain_additive_energy


def draw(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    shapes = ((3, 5, 4), (3, 2, 4), (4,))
    keys, query, weight = (torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes)
    return keys, query, weight


@pytest.mark.parametrize("elements", [1, 2 * 5 * 4 - 1, 2**19])
def test_energies_and_gradients_equal_the_formula(elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(additive_attention, "BLOCK_ELEMENTS", elements)
    parts = draw(torch.float64)
    torch.testing.assert_close(additive_energy(*parts), plain_additive_energy(*parts))
    assert torch.autograd.gradcheck(additive_energy, parts)


def test_half_precision_in_gives_float32_out_near_the_exact() -> None:
    parts = draw(torch.bfloat16)
    energy, exact = (
        additive_energy(*parts),
        plain_additive_energy(*(part.detach().double() for part in parts)),
    )
    assert energy.dtype == torch.float32
    torch.testing.assert_close(energy.double(), exact, rtol=0, atol=1e-5)
    energy.sum().backward()
    assert all(part.grad is not None and part.grad.dtype == torch.bfloat16 for part in parts)


def test_nothing_is_saved_without_gradients() -> None:
    with torch.no_grad():
        energy = additive_energy(*draw(torch.float32))
    assert energy.grad_fn is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_very_large_values_saturate_and_are_finite(dtype: torch.dtype) -> None:
    keys = torch.tensor([[[1e4], [60.0], [30.0], [-30.0], [-60.0], [-1e4]]], dtype=dtype, requires_grad=True)
    query = torch.tensor([[[25.0], [-25.0], [0.0]]], dtype=dtype, requires_grad=True)
    weight = torch.ones(1, dtype=dtype, requires_grad=True)
    parts = (keys, query, weight)
    energy = additive_energy(*parts)
    torch.testing.assert_close(energy, plain_additive_energy(*parts))
    grads, expected_grads = (
        torch.autograd.grad(out.sum(), parts) for out in (energy, plain_additive_energy(*parts))
    )
    for one, other in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(one, other)


def test_float32_is_as_near_the_exact_as_hyperbolic_tangents_of_all_pairs() -> None:
    torch.manual_seed(0)
    shapes = ((2, 30, 64), (2, 9, 64), (64,))
    parts = [3 * torch.randn(shape) for shape in shapes]
    expected = plain_additive_energy(*(part.double() for part in parts))
    error, usual = (
        (out.double() - expected).abs().max()
        for out in (additive_energy(*parts), plain_additive_energy(*parts))
    )
    assert error < 3 * usual
