"""Energies of additive attention, v . tanh(key + query), for all pairs of a region's key and a query.

Their hidden layer [P, K, R, A] is the largest tensor of a captioner with additive attention. Two things make it
cheap. With tanh(k + q) = 1 - 2 / (1 + exp(2k) exp(2q)), exponentials are taken of keys and queries alone, and of
pairs only products and reciprocals: on the CPU a tenth of the time of as many tanh. And it is computed for a few
queries at a time, so that it stays in the processor's cache; the backward pass recomputes it.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

BLOCK_ELEMENTS = 2**19
"""Elements of the hidden layer at a time on the CPU: 2 MB of float32."""

MAX_EXPONENT = 80.0
"""Clamp on 2x so that exp() neither overflows nor underflows float32, and the product of two is a number, or
infinity, whose tanh is 1. A larger key or query saturates all its tanh, except that with its opposite."""


def plain_additive_energy(keys: Tensor, query: Tensor, weight: Tensor) -> Tensor:
    """Return the same as `additive_energy` by the formula."""
    # A matrix of one column: onnxruntime takes several times as long for a vector.
    return (torch.tanh(keys.unsqueeze(1) + query.unsqueeze(2)) @ weight.unsqueeze(1)).squeeze(-1)


def additive_energy(keys: Tensor, query: Tensor, weight: Tensor) -> Tensor:
    """Return energies float32 [P, K, R] (float64 for float64), Bahdanau et al. 2015, appendix A.1.2.

    ``keys`` are projected regions, float [P, R, A], ``query`` projected hidden states, float [P, K, A]; ``weight`` is
    v, float [A].
    """
    if torch.compiler.is_exporting():
        # The number of blocks would fix the axes of an exported graph.
        return plain_additive_energy(keys, query, weight)
    energy: Tensor = _AdditiveEnergy.apply(keys, query, weight)  # type: ignore[no-untyped-call]
    return energy


class _AdditiveEnergy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, keys: Tensor, query: Tensor, weight: Tensor) -> Tensor:
        keys_exp2x, query_exp2x, weight_float = exp2x(keys), exp2x(query), to_float32(weight)
        images = torch.arange(len(query), device=query.device).repeat_interleave(query.shape[1])
        energy = energies(keys_exp2x, query_exp2x.flatten(0, 1), images, weight_float)
        ctx.save_for_backward(keys_exp2x, query_exp2x, images, weight_float)
        ctx.dtypes = keys.dtype, query.dtype, weight.dtype
        return energy.view(*query.shape[:2], keys.shape[1])

    @staticmethod
    def backward(ctx: Any, grad_energy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keys_exp2x, query_exp2x, images, weight = ctx.saved_tensors
        gradients = EnergyGradients(keys_exp2x, weight)
        grad_query = gradients.add(query_exp2x.flatten(0, 1), images, grad_energy.flatten(0, 1))
        keys_dtype, query_dtype, weight_dtype = ctx.dtypes
        return (
            gradients.grad_keys().to(keys_dtype),
            grad_query.view(query_exp2x.shape).to(query_dtype),
            gradients.grad_weight.to(weight_dtype),
        )


def to_float32(values: Tensor) -> Tensor:
    """Return values in float32 at least."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def exp2x(values: Tensor) -> Tensor:
    """Return exp(2x), in float32 at least, of keys or queries float [..., A]."""
    return to_float32(values).mul(2.0).clamp_(-MAX_EXPONENT, MAX_EXPONENT).exp_()


def energies(keys: Tensor, query: Tensor, images: Tensor, weight: Tensor) -> Tensor:
    """Return energies [N, R] of N queries, each with the regions of its image, int64 [N].

    Keys [P, R, A] and queries [N, A] are `exp2x` of the projected ones; ``weight`` is v, `to_float32`, [A].
    """
    energy = query.new_empty(len(query), keys.shape[1])
    for rows, block in _blocks(keys, query, images):
        energy[rows] = (block.view(-1, block.shape[2]) @ weight).view(len(block), -1)
    return energy.mul_(-2.0).add_(weight.sum())


class EnergyGradients:
    """Accumulates the gradients of keys and weight (see `energies`) over queries that come in parts."""

    def __init__(self, keys: Tensor, weight: Tensor) -> None:
        self._keys, self._weight = keys, weight
        self._grad_keys = torch.zeros_like(keys)
        self.grad_weight = torch.zeros_like(weight)

    def add(self, query: Tensor, images: Tensor, grad_energy: Tensor) -> Tensor:
        """Return the gradient of queries [N, A] for that of their energies [N, R]; arguments as for `energies`."""
        grad_query = torch.empty_like(query)
        for rows, block in _blocks(self._keys, query, images):
            grad = grad_energy[rows]  # [n, R]
            # tanh = 1 - 2u, with the derivative 4 (u - u^2).
            self.grad_weight.addmv_(block.view(-1, block.shape[2]).t(), grad.flatten(), alpha=-2.0)
            derivative = block.addcmul_(block, block, value=-1.0)  # [n, R, A]
            grad_query[rows] = torch.bmm(grad.unsqueeze(1), derivative).squeeze(1)
            self._grad_keys.index_add_(0, images[rows], derivative.mul_(grad.unsqueeze(2)))
        self.grad_weight += grad_energy.sum()
        return grad_query.mul_(4.0 * self._weight)

    def grad_keys(self) -> Tensor:
        """Return the gradient of all keys [P, R, A]; call it once."""
        return self._grad_keys.mul_(4.0 * self._weight)


def _blocks(keys: Tensor, query: Tensor, images: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield u = 1 / (1 + exp(2k) exp(2q)) of some queries [n, R, A] after others, all in the same buffer."""
    size = len(query)
    if query.device.type == "cpu":
        size = min(size, max(1, BLOCK_ELEMENTS // max(1, keys[0].numel())))
    buffer, one = keys.new_empty(size, *keys.shape[1:]), keys.new_ones(())
    for start in range(0, len(query), max(1, size)):
        rows = slice(start, start + size)
        part = query[rows]
        block = buffer[: len(part)]
        torch.index_select(keys, 0, images[rows], out=block)
        torch.addcmul(one, block, part.unsqueeze(1), out=block)
        yield rows, block.reciprocal_()
