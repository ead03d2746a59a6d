"""A linear layer that a recurrence uses at every time step, with one gradient of its weights for all of them.

Left to itself, autograd multiplies a thin slice for each time step and adds up as many matrices as large as the
weights. The slices laid together are one product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Linear = Callable[[Tensor], Tensor]


def shared_linear(layer: nn.Linear) -> Linear:
    """Return a function that computes what the layer does, for the time steps of one forward pass.

    Its result is in the precision of its input. The gradients of weight and bias are taken when those of all its
    calls are known: all of them must lead to the loss, or to nothing that is differentiated.
    """
    calls: list[tuple[Tensor, Tensor]] = []
    ticket = _AccumulateWeightGrad.apply(layer.weight, layer.bias, calls)  # type: ignore[no-untyped-call]
    casts: dict[torch.dtype, tuple[Tensor, Tensor | None]] = {}

    def apply(values: Tensor) -> Tensor:
        if values.dtype not in casts:
            bias = layer.bias if layer.bias is None else layer.bias.detach().to(values.dtype)
            casts[values.dtype] = (layer.weight.detach().to(values.dtype), bias)
        found: Tensor = _LinearCall.apply(values, ticket, *casts[values.dtype], calls)  # type: ignore[no-untyped-call]
        return found

    return apply


class _AccumulateWeightGrad(torch.autograd.Function):
    """Hands out a ticket that every call depends on, so that its gradient is asked for after all of theirs."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor | None, calls: list[tuple[Tensor, Tensor]]) -> Tensor:
        ctx.calls, ctx.dtype, ctx.has_bias = calls, weight.dtype, bias is not None
        return weight.new_zeros(())

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor, Tensor | None, None]:
        values, gradients = (torch.cat(parts) for parts in zip(*ctx.calls, strict=True))
        ctx.calls.clear()
        by_bias = gradients.sum(dim=0, dtype=ctx.dtype) if ctx.has_bias else None
        return (gradients.t() @ values).to(ctx.dtype), by_bias, None


class _LinearCall(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        ticket: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        calls: list[tuple[Tensor, Tensor]],
    ) -> Tensor:
        # A matrix: of more dimensions, cut out of something larger, torch makes a product for each picture.
        flat = values.reshape(-1, values.shape[-1])
        ctx.save_for_backward(flat, weight)
        ctx.calls, ctx.ticket_dtype, ctx.shape = calls, ticket.dtype, values.shape
        return nn.functional.linear(flat, weight, bias).view(*values.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        values, weight = ctx.saved_tensors
        gradient = gradient.reshape(len(values), -1)
        ctx.calls.append((values, gradient))
        zero = gradient.new_zeros((), dtype=ctx.ticket_dtype)
        return (gradient @ weight).view(ctx.shape), zero, None, None, None
