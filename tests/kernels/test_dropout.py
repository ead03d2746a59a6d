"""Dropout: the share of zeros, the mean, the gradient, and seeds."""

from __future__ import annotations

import pytest
import torch

from showtell.kernels.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_the_share_of_zeros_and_the_mean(p: float) -> None:
    torch.manual_seed(0)
    dropped = Dropout(p)(torch.ones(1001, 999))
    assert float((dropped == 0).float().mean()) == pytest.approx(p, abs=0.004)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.01)
    assert len(dropped.unique()) == 2


def test_every_place_is_as_likely_as_another() -> None:
    torch.manual_seed(0)
    module, values = Dropout(0.5), torch.ones(16)
    kept = torch.stack([module(values) != 0 for _ in range(4000)]).float().mean(0)
    assert float((kept - 0.5).abs().max()) < 0.04


def test_the_gradient_passes_where_the_value_passed() -> None:
    torch.manual_seed(0)
    values = torch.ones(64, requires_grad=True)
    dropped = Dropout(0.25)(values)
    dropped.sum().backward()
    assert values.grad is not None
    torch.testing.assert_close(values.grad, dropped.detach())


def test_a_seed_gives_the_same_mask_and_another_a_different_one() -> None:
    module, drawn = Dropout(0.5), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(module(torch.ones(100)))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_nothing_changes_in_eval_mode_or_with_p_0() -> None:
    values = torch.randn(10)
    assert torch.equal(Dropout(0.5).eval()(values), values)
    assert torch.equal(Dropout(0.0)(values), values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", [(), (0, 3), (7,)])
def test_type_and_shape_stay(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    dropped = Dropout(0.3)(torch.ones(shape, dtype=dtype))
    assert (dropped.dtype, dropped.shape) == (dtype, torch.Size(shape))
