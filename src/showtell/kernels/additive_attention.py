"""Additive attention's energies, v . tanh(key + query), for all pairs of a region's key and a query.

Their hidden layer is the largest tensor of a captioner with additive attention, and only passed through. Two things
make it cheap. A hyperbolic tangent of a sum is tanh(k + q) = 1 - 2 / (1 + exp(2k) exp(2q)): exponentials are taken of
keys and queries, and of pairs only products and reciprocals, a tenth of the time that as many hyperbolic tangents
take on the CPU. And a few queries at a time, all of it stays in the cache; the backward pass makes it again in place
of reading it from memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

NUMBERS_AT_ONCE = 2**19
"""Of the hidden layer on the CPU: 2 MB of float32."""

LARGEST = 80.0
"""Of twice a key or query: neither exponential overflows float32 or becomes zero, so that their product is always a
number (or infinity, whose hyperbolic tangent is 1). Whatever is larger saturates every tangent it is part of, but for
that with an opposite as large."""


class _AdditiveEnergy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, keys: Tensor, query: Tensor, weight: Tensor) -> Tensor:
        raised_keys, raised_query, column = exp2x(keys), exp2x(query), to_float32(weight)
        pictures = torch.arange(len(query), device=query.device).repeat_interleave(query.shape[1])
        energy = energies(raised_keys, raised_query.flatten(0, 1), pictures, column)
        ctx.save_for_backward(raised_keys, raised_query, pictures, column)
        ctx.dtypes = keys.dtype, query.dtype, weight.dtype
        return energy.view(*query.shape[:2], keys.shape[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        raised_keys, raised_query, pictures, column = ctx.saved_tensors
        gradients = EnergyGradients(raised_keys, column)
        by_query = gradients.add(raised_query.flatten(0, 1), pictures, gradient.flatten(0, 1))
        of_keys, of_query, of_weight = ctx.dtypes
        return (
            gradients.of_keys().to(of_keys),
            by_query.view(raised_query.shape).to(of_query),
            gradients.of_weight.to(of_weight),
        )


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


def to_float32(values: Tensor) -> Tensor:
    """Return values in float32 at least."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def exp2x(values: Tensor) -> Tensor:
    """Return exp(2x), in float32 at least, of keys or queries float [..., A]."""
    return to_float32(values).mul(2.0).clamp_(-LARGEST, LARGEST).exp_()


def energies(keys: Tensor, query: Tensor, pictures: Tensor, weight: Tensor) -> Tensor:
    """Return energies [N, R] of N queries, each about the regions of its picture.

    Args:
        keys: `exp2x`, [P, R, A].
        query: `exp2x`, [N, A].
        pictures: Each query's, int64 [N].
        weight: v, [A], `to_float32`.
    """
    energy = query.new_empty(len(query), keys.shape[1])
    for rows, block in _blocks(keys, query, pictures):
        energy[rows] = (block.view(-1, block.shape[2]) @ weight).view(len(block), -1)
    return energy.mul_(-2.0).add_(weight.sum())


class EnergyGradients:
    """Adds up the gradients of keys and weight over queries that come in parts.

    Args:
        keys: `exp2x`, [P, R, A].
        weight: v, [A], `to_float32`.
    """

    def __init__(self, keys: Tensor, weight: Tensor) -> None:
        self._keys, self._weight = keys, weight
        self._of_keys = torch.zeros_like(keys)
        self.of_weight = torch.zeros_like(weight)

    def add(self, query: Tensor, pictures: Tensor, gradient: Tensor) -> Tensor:
        """Return the gradient of queries [N, A] for that of their energies [N, R]; see `energies` for the rest."""
        by_query = torch.empty_like(query)
        for rows, block in _blocks(self._keys, query, pictures):
            asked = gradient[rows]  # [n, R]
            # tanh = 1 - 2u, and its slope is 4 (u - u^2).
            self.of_weight.addmv_(block.view(-1, block.shape[2]).t(), asked.flatten(), alpha=-2.0)
            slope = block.addcmul_(block, block, value=-1.0)  # [n, R, A]
            by_query[rows] = torch.bmm(asked.unsqueeze(1), slope).squeeze(1)
            self._of_keys.index_add_(0, pictures[rows], slope.mul_(asked.unsqueeze(2)))
        self.of_weight += gradient.sum()
        return by_query.mul_(4.0 * self._weight)

    def of_keys(self) -> Tensor:
        """Return the gradient of all keys [P, R, A], once."""
        return self._of_keys.mul_(4.0 * self._weight)


def _blocks(keys: Tensor, query: Tensor, pictures: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield u = 1 / (1 + exp(2k) exp(2q)) of some queries [n, R, A] after others, all in the same memory."""
    size = len(query)
    if query.device.type == "cpu":
        size = min(size, max(1, NUMBERS_AT_ONCE // max(1, keys[0].numel())))
    memory, one = keys.new_empty(size, *keys.shape[1:]), keys.new_ones(())
    for first in range(0, len(query), max(1, size)):
        rows = slice(first, first + size)
        part = query[rows]
        block = memory[: len(part)]
        torch.index_select(keys, 0, pictures[rows], out=block)
        torch.addcmul(one, block, part.unsqueeze(1), out=block)
        yield rows, block.reciprocal_()
