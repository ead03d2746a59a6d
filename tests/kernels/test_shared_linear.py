"""A layer used at every time step: the numbers of the layer itself, and one product for its weights' gradient."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from showtell.kernels.shared_linear import shared_linear


def recurrence(step: Callable[[Tensor], Tensor], start: Tensor, times: int = 6) -> Tensor:
    held, total = start, start.new_zeros(())
    for _ in range(times):
        held = torch.tanh(step(held))
        total = total + held.square().sum()
    return total


@pytest.mark.parametrize("bias", [True, False])
def test_a_recurrence_has_the_gradients_of_the_plain_layer(bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(4, 4, bias=bias).double()
    start = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    wanted = torch.autograd.grad(recurrence(layer, start), [start, *layer.parameters()])
    found = torch.autograd.grad(recurrence(shared_linear(layer), start), [start, *layer.parameters()])
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_calls_of_different_sizes_add_up() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2).double()
    inputs = [torch.randn(*shape, 3, dtype=torch.float64) for shape in ((2, 4), (2, 2), (5,))]
    wanted = torch.autograd.grad(sum(layer(x).exp().sum() for x in inputs), list(layer.parameters()))
    together = shared_linear(layer)
    found = torch.autograd.grad(sum(together(x).exp().sum() for x in inputs), list(layer.parameters()))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


class CountProducts(TorchDispatchMode):
    """Counts matrix products whose result is as large as the weights."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.count = shape, 0

    def __torch_dispatch__(self, func: object, types: object, args: tuple = (), kwargs: dict | None = None):  # type: ignore[no-untyped-def,type-arg]
        found = func(*args, **(kwargs or {}))  # type: ignore[operator]
        name = str(func)
        self.count += ("mm" in name) and isinstance(found, Tensor) and tuple(found.shape) == self.shape
        return found


def test_the_weights_gradient_is_one_product_however_many_steps() -> None:
    layer = nn.Linear(7, 7, bias=False)
    loss = recurrence(shared_linear(layer), torch.randn(2, 3, 7), times=9)
    with CountProducts((7, 7)) as products:
        loss.backward()
    assert products.count == 1


def test_the_input_says_the_precision() -> None:
    layer = nn.Linear(4, 2)
    together = shared_linear(layer)
    found = together(torch.randn(3, 4, dtype=torch.bfloat16))
    assert found.dtype == torch.bfloat16
    found.float().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32
