"""A moving average of the weights: judged and saved as the best in place of the last step's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

WARMUP = 10


class WeightAverage:
    """Exponential moving average of the trainable weights (Polyak and Juditsky 1992, exponential form).

    Early steps weigh more, ``min(decay, (1 + step) / (10 + step))``: the average forgets the random start.

    A decoder's batch norm statistics are averaged along: the mean of a linear layer's output is linear in its
    weights, so the averaged means are those of the averaged weights, where the latest would be of the latest weights.
    An encoder that is trained along keeps its latest statistics: the small one was measured with them.

    Args:
        model: Whose weights are averaged.
        decay: Share of the old average that stays at each step; 0: the weights themselves.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._weights: dict[str, Tensor] = {
            name: weight for name, weight in model.named_parameters() if weight.requires_grad
        }
        self._weights |= {
            name: buffer
            for name, buffer in model.named_buffers()
            if buffer.is_floating_point() and not name.startswith("encoder.")
        }
        self.average = {name: weight.detach().clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step (0 for the first)."""
        decay = min(self.decay, (1 + step) / (WARMUP + step))
        torch._foreach_lerp_(list(self.average.values()), list(self._weights.values()), 1.0 - decay)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the averaged weights inside the block, its own afterwards."""
        own = {name: weight.detach().clone() for name, weight in self._weights.items()}
        self._copy(self.average)
        try:
            yield
        finally:
            self._copy(own)

    def begin_anew(self) -> None:
        """Forget the past: the average is the weights as they are now."""
        self.restore({name: weight.detach() for name, weight in self._weights.items()})

    def restore(self, average: dict[str, Tensor]) -> None:
        """Go on from a saved average."""
        for name, value in average.items():
            self.average[name].copy_(value)

    @torch.no_grad()
    def _copy(self, values: dict[str, Tensor]) -> None:
        for name, weight in self._weights.items():
            weight.copy_(values[name])
