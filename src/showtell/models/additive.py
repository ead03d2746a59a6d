"""Additive attention's energies, v . tanh(key + query), for all pairs of key and query.

Their hidden layer is the largest tensor of a captioner with additive attention, and only passed through: done a few
pictures at a time, or part of one, it stays in the cache. The hyperbolic tangent is taken in float32: more exact, and
on the CPU faster than torch's in bfloat16.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

NUMBERS_AT_ONCE = 2**19
"""Of the hidden layer on the CPU: 2 MB of float32."""


class _AdditiveEnergy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, keys: Tensor, query: Tensor, weight: Tensor) -> Tensor:
        exact = torch.promote_types(keys.dtype, torch.float32)
        shape = (*query.shape[:2], *keys.shape[1:])  # [P, K, R, A]
        energy = keys.new_empty(shape[:3], dtype=exact)
        hidden = keys.new_empty(shape) if any(ctx.needs_input_grad) else None
        column = weight.to(exact)
        for part in _parts(shape, keys.device):
            block = keys[part[0]].unsqueeze(1).to(exact) + query[part].unsqueeze(2).to(exact)
            block.tanh_()
            energy[part] = block @ column
            if hidden is not None:
                hidden[part] = block
        if hidden is not None:
            ctx.save_for_backward(hidden, weight)
        return energy

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden, weight = ctx.saved_tensors
        pictures, hypotheses, regions, width = hidden.shape
        by_keys = gradient.new_zeros(pictures, regions, width)
        by_query = hidden.new_empty(pictures, hypotheses, width)
        by_weight = gradient.new_zeros(width)
        column = weight.to(gradient.dtype)
        for part in _parts(hidden.shape, hidden.device):
            block, asked = hidden[part].to(gradient.dtype), gradient[part]
            by_weight += asked.flatten() @ block.flatten(0, 2)
            slope = block.square().neg_().add_(1.0).mul_(column).mul_(asked.unsqueeze(3))
            by_keys[part[0]] += slope.sum(dim=1)
            by_query[part] = slope.sum(dim=2)
        return by_keys.to(hidden.dtype), by_query, by_weight.to(weight.dtype)


def additive_energy(keys: Tensor, query: Tensor, weight: Tensor) -> Tensor:
    """Return energies float32 [P, K, R] (float64 for float64), Bahdanau et al. 2015, appendix A.1.2.

    Args:
        keys: Each region's part of the hidden layer, float [P, R, A].
        query: Each hypothesis's part, float [P, K, A].
        weight: v, float [A].
    """
    if torch.compiler.is_exporting():
        # How many parts there are would fix the axes of an exported graph.
        return torch.tanh(keys.unsqueeze(1) + query.unsqueeze(2)) @ weight
    found: Tensor = _AdditiveEnergy.apply(keys, query, weight)  # type: ignore[no-untyped-call]
    return found


def _parts(shape: tuple[int, ...], device: torch.device) -> list[tuple[slice, slice]]:
    """Return slices of the pictures and hypotheses of a tensor [P, K, R, A], whole pictures where they fit."""
    pictures, hypotheses, *rest = shape
    room = (
        NUMBERS_AT_ONCE // max(1, torch.Size(rest).numel()) if device.type == "cpu" else pictures * hypotheses
    )
    wide = min(max(1, room), max(1, hypotheses))
    high = max(1, room // wide)
    return [
        (slice(first, first + high), slice(start, start + wide))
        for first in range(0, pictures, high)
        for start in range(0, hypotheses, wide)
    ]
