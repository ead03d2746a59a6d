"""Additive attention's energies: the numbers of the plain formula, forward and backward, however they are cut."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from showtell.kernels import additive_attention as additive
from showtell.kernels.additive_attention import additive_energy


def plain(keys: Tensor, query: Tensor, weight: Tensor) -> Tensor:
    return torch.tanh(keys.unsqueeze(1) + query.unsqueeze(2)) @ weight


def drawn(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    shapes = ((3, 5, 4), (3, 2, 4), (4,))
    keys, query, weight = (torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes)
    return keys, query, weight


@pytest.mark.parametrize("at_once", [1, 2 * 5 * 4 - 1, 2**19])
def test_energies_and_gradients_are_those_of_the_formula(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(additive, "NUMBERS_AT_ONCE", at_once)
    parts = drawn(torch.float64)
    torch.testing.assert_close(additive_energy(*parts), plain(*parts))
    assert torch.autograd.gradcheck(additive_energy, parts)


def test_half_precision_in_gives_float32_out_near_the_exact() -> None:
    parts = drawn(torch.bfloat16)
    found, exact = additive_energy(*parts), plain(*(part.detach().double() for part in parts))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-5)
    found.sum().backward()
    assert all(part.grad is not None and part.grad.dtype == torch.bfloat16 for part in parts)


def test_nothing_is_kept_where_no_gradient_is_asked() -> None:
    with torch.no_grad():
        found = additive_energy(*drawn(torch.float32))
    assert found.grad_fn is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_very_large_saturates_and_is_a_number(dtype: torch.dtype) -> None:
    keys = torch.tensor([[[1e4], [60.0], [30.0], [-30.0], [-60.0], [-1e4]]], dtype=dtype, requires_grad=True)
    query = torch.tensor([[[25.0], [-25.0], [0.0]]], dtype=dtype, requires_grad=True)
    weight = torch.ones(1, dtype=dtype, requires_grad=True)
    parts = (keys, query, weight)
    found = additive_energy(*parts)
    torch.testing.assert_close(found, plain(*parts))
    by_found, by_wanted = (torch.autograd.grad(out.sum(), parts) for out in (found, plain(*parts)))
    for one, other in zip(by_found, by_wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_float32_is_as_near_the_exact_as_hyperbolic_tangents_of_all_pairs() -> None:
    torch.manual_seed(0)
    shapes = ((2, 30, 64), (2, 9, 64), (64,))
    parts = [3 * torch.randn(shape) for shape in shapes]
    wanted = plain(*(part.double() for part in parts))
    error, usual = ((out.double() - wanted).abs().max() for out in (additive_energy(*parts), plain(*parts)))
    assert error < 3 * usual
