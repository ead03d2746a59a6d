"""Log-likelihood of tokens with a closed-form gradient: the core of every objective.

The gradient with respect to the logits is the target minus the softmax. In closed form it takes one pass over the
vocabulary; torch's chain of operations takes five, each over a matrix of its own. Blocks of rows stay in the cache.
"""

from typing import Any

import torch
from torch import Tensor

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.encoders.features import Features

BLOCK = 64
"""Rows per block on the CPU: 64 x 2,500 float32 are 640 kB."""


class _LogLikelihood(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, targets: Tensor, smoothing: float, soft_targets: Tensor | None
    ) -> Tensor:
        dtype = torch.promote_types(logits.dtype, torch.float32)
        likelihood = torch.empty(len(logits), dtype=dtype, device=logits.device)
        totals = torch.empty_like(likelihood)
        for rows in _blocks(logits):
            block = logits[rows].to(dtype)
            totals[rows] = block.logsumexp(dim=1)
            likelihood[rows] = block.gather(1, targets[rows, None]).squeeze(1)
            if smoothing:
                likelihood[rows] += smoothing * (block.mean(dim=1) - likelihood[rows])
            if soft_targets is not None:
                rest = 1.0 - soft_targets[rows].sum(dim=1)
                likelihood[rows] = rest * likelihood[rows] + (soft_targets[rows] * block).sum(dim=1)
        ctx.save_for_backward(logits, targets, totals, soft_targets)
        ctx.smoothing = smoothing
        return likelihood - totals

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None, None]:
        logits, targets, totals, soft_targets = ctx.saved_tensors
        smoothing, grad_logits = ctx.smoothing, torch.empty_like(logits)
        for rows in _blocks(logits):
            scale = grad_output[rows, None]
            block = (logits[rows].to(totals.dtype) - totals[rows, None]).exp_().mul_(-scale)
            if soft_targets is not None:
                block.addcmul_(soft_targets[rows], scale)
                scale = scale * (1.0 - soft_targets[rows].sum(dim=1, keepdim=True))
            if smoothing:
                block += scale * (smoothing / logits.shape[1])
            block.scatter_add_(1, targets[rows, None], scale * (1.0 - smoothing))
            grad_logits[rows] = block
        return grad_logits, None, None, None


def log_likelihood(
    logits: Tensor, targets: Tensor, *, smoothing: float = 0.0, soft_targets: Tensor | None = None
) -> Tensor:
    """Return the log-probability (nats) of each target, float32 [N] (float64 for float64 logits).

    With smoothing or soft targets it is the expectation under the mixed target: minus the smoothed cross-entropy
    (Szegedy et al. 2016, section 7), or the distillation loss (Hinton et al. 2015).

    Args:
        logits: float [N, V]; -infinity for banned tokens (not with smoothing). Sums are in float32 at least.
        targets: int64 [N].
        smoothing: 0 to below 1.
        soft_targets: Probabilities of all tokens times their weight in the target, float [N, V].
    """
    likelihood: Tensor = _LogLikelihood.apply(logits, targets, smoothing, soft_targets)  # type: ignore[no-untyped-call]
    return likelihood


def teacher_forced_states(
    model: CaptioningModel, memory: Features, tokens: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the decoder's hidden states before each of N real tokens of captions int64 [P, K, T + 1].

    Captions begin with ``<bos>``. Returns hidden states float [N, X], their tokens int64 [N], and the mask of real
    tokens, bool [P, K, T].
    """
    targets, pad_id = tokens[:, :, 1:], model.decoder.pad_id
    real = targets != pad_id
    # The end of a caption has no successor: it is skipped like padding.
    inputs = tokens[:, :, :-1].masked_fill(~real, pad_id)
    return model.decoder.forward_hidden(memory, inputs)[real], targets[real], real


def _blocks(logits: Tensor) -> list[slice]:
    rows = BLOCK if logits.device.type == "cpu" else max(1, len(logits))
    return [slice(first, first + rows) for first in range(0, len(logits), rows)]
