"""A moving average of the weights: judged and saved as the best in place of the last step's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

WARMUP = 10


class WeightAverage:
    """Exponential moving average of the trainable weights (Polyak and Juditsky 1992, exponential form).

    Early steps weigh more, ``min(decay, (1 + step) / (10 + step))``: the average forgets the random start.

    A decoder's batch norm statistics are averaged along: the mean of a linear layer's output is linear in its
    weights, so the averaged means are those of the averaged weights, where the latest would be of the latest weights.
    An encoder that is trained along keeps its latest statistics: the small one was measured with them.

    What is judged may hold a share of the weights that a phase began with as well: on the way from these to what a
    reward makes of them lie captioners that are better than either (Wortsman et al. 2022, "Robust fine-tuning of
    zero-shot models", section 3).

    Args:
        model: Whose weights are averaged.
        decay: Share of the old average that stays at each step; 0: the weights themselves.
        interpolate_init: Share of the weights as they are now in what is judged, until the next phase begins.
    """

    def __init__(self, model: nn.Module, decay: float, interpolate_init: float = 0.0) -> None:
        self.decay = decay
        self._weights: dict[str, Tensor] = {
            name: weight for name, weight in model.named_parameters() if weight.requires_grad
        }
        self._weights |= {
            name: buffer
            for name, buffer in model.named_buffers()
            if buffer.is_floating_point() and not name.startswith("encoder.")
        }
        self.average = self._copied()
        self.interpolate_init = interpolate_init
        self.start = self._copied() if interpolate_init else {}
        self.first_step = 0

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step (0 for the first)."""
        since = step - self.first_step
        decay = min(self.decay, (1 + since) / (WARMUP + since))
        torch._foreach_lerp_(list(self.average.values()), list(self._weights.values()), 1.0 - decay)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model what is judged inside the block, its own weights afterwards."""
        own = self._copied()
        self._copy(
            {
                name: torch.lerp(value, self.start[name], self.interpolate_init)
                for name, value in self.average.items()
            }
            if self.interpolate_init
            else self.average
        )
        try:
            yield
        finally:
            self._copy(own)

    def reset(self, interpolate_init: float = 0.0, first_step: int = 0) -> None:
        """Forget the past: the average, and where the phase began, are the weights as they are now.

        Args:
            interpolate_init: See above.
            first_step: The step after which they are random, and to be forgotten as at the start.
        """
        self.first_step = first_step
        now = {name: weight.detach() for name, weight in self._weights.items()}
        self.restore(now, now, interpolate_init)

    def restore(
        self, average: Mapping[str, Tensor], start: Mapping[str, Tensor], interpolate_init: float
    ) -> None:
        """Go on from a saved average, and from the weights that the phase began with where they have a share.

        Raises:
            KeyError: they have one and are not all there.
        """
        for name, value in average.items():
            self.average[name].copy_(value)
        self.interpolate_init, self.start = interpolate_init, {}
        if interpolate_init:
            self.start = {
                name: start[name].to(value.device, copy=True) for name, value in self.average.items()
            }

    def _copied(self) -> dict[str, Tensor]:
        return {name: weight.detach().clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def _copy(self, values: dict[str, Tensor]) -> None:
        for name, weight in self._weights.items():
            weight.copy_(values[name])
