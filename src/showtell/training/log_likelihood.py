"""How likely tokens are, with a gradient in closed form: the inner part of every objective.

The gradient of a log-probability by the logits is the target less the softmax. Written down, it takes one pass over
the vocabulary where the chain of torch's operations takes five, each over a matrix of its own; and done in blocks of
rows, the passes find their numbers in the cache.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.encoders.features import Features

BLOCK = 64
"""Rows at a time on the CPU: 64 x 2,500 float32 are 640 kB."""


class _LogLikelihood(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, smoothing: float, taught: Tensor | None) -> Tensor:
        exact = torch.promote_types(logits.dtype, torch.float32)
        found = torch.empty(len(logits), dtype=exact, device=logits.device)
        totals = torch.empty_like(found)
        for rows in _blocks(logits):
            block = logits[rows].to(exact)
            totals[rows] = block.logsumexp(dim=1)
            found[rows] = block.gather(1, targets[rows, None]).squeeze(1)
            if smoothing:
                found[rows] += smoothing * (block.mean(dim=1) - found[rows])
            if taught is not None:
                own = 1.0 - taught[rows].sum(dim=1)
                found[rows] = own * found[rows] + (taught[rows] * block).sum(dim=1)
        ctx.save_for_backward(logits, targets, totals, taught)
        ctx.smoothing = smoothing
        return found - totals

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        logits, targets, totals, taught = ctx.saved_tensors
        smoothing, result = ctx.smoothing, torch.empty_like(logits)
        for rows in _blocks(logits):
            scale = gradient[rows, None]
            block = (logits[rows].to(totals.dtype) - totals[rows, None]).exp_().mul_(-scale)
            if taught is not None:
                block.addcmul_(taught[rows], scale)
                scale = scale * (1.0 - taught[rows].sum(dim=1, keepdim=True))
            if smoothing:
                block += scale * (smoothing / logits.shape[1])
            block.scatter_add_(1, targets[rows, None], scale * (1.0 - smoothing))
            result[rows] = block
        return result, None, None, None


def log_likelihood(
    logits: Tensor, targets: Tensor, *, smoothing: float = 0.0, taught: Tensor | None = None
) -> Tensor:
    """Return the log-probability (nats) of each target, float32 [N] (float64 where the logits are).

    With smoothing it is the expectation over a target that has given ``smoothing`` of its mass to all tokens alike
    (Szegedy et al. 2016, section 7), which is minus the smoothed cross-entropy. What is taught takes the place of as
    much of that target as it has mass (Hinton et al. 2015, "Distilling the Knowledge in a Neural Network").

    Args:
        logits: float [N, V], -infinity for what cannot be (not with smoothing); sums are taken in float32 at least.
        targets: int64 [N].
        smoothing: 0 to below 1.
        taught: Probabilities of all tokens times their share in the target, float [N, V]; None: of none.
    """
    found: Tensor = _LogLikelihood.apply(logits, targets, smoothing, taught)  # type: ignore[no-untyped-call]
    return found


def teacher_forced_states(
    model: CaptioningModel, memory: Features, tokens: Tensor, pad_id: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Read sentences by teacher forcing.

    Args:
        model: The captioner.
        memory: What its encoder saw of P pictures.
        tokens: K sentences about each, ``<bos>`` first, int64 [P, K, T + 1]; ``pad_id`` where there is no token.
        pad_id: What is not read.

    Returns:
        What the decoder holds before each of N tokens, float [N, X]; these tokens, int64 [N]; and where they stand,
        bool [P, K, T].
    """
    targets = tokens[:, :, 1:]  # [P, K, T]
    real = targets != pad_id
    # Nothing follows an end: it is read no more than padding.
    read = tokens[:, :, :-1].masked_fill(~real, pad_id)
    return model.decoder.forward_hidden(memory, read)[real], targets[real], real


def _blocks(logits: Tensor) -> list[slice]:
    rows = BLOCK if logits.device.type == "cpu" else max(1, len(logits))
    return [slice(first, first + rows) for first in range(0, len(logits), rows)]
