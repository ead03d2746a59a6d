"""Exponential moving average (EMA) of the weights, which is evaluated and saved in place of the last step's."""

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

WARMUP = 10


class WeightAverage:
    """EMA of the trainable weights (Polyak and Juditsky 1992, exponential form).

    The decay is ``min(decay, (1 + step) / (10 + step))``, so that the average forgets the random initial weights. The
    decoder's batch-norm statistics are averaged too: the mean of a linear layer's output is linear in its weights. A
    trained encoder keeps its latest statistics: the small one was measured with them.

    The evaluated weights can be interpolated with the weights at the start of the phase, which is often better than
    either (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", section 3).

    Args:
        model: The model to average.
        decay: Weight of the old average at each step; 0: no averaging.
        init_weight: Weight of the phase's initial weights in the evaluated ones.
    """

    def __init__(self, model: nn.Module, decay: float, init_weight: float = 0.0) -> None:
        self.decay = decay
        self._weights: dict[str, Tensor] = {
            name: weight for name, weight in model.named_parameters() if weight.requires_grad
        }
        self._weights |= {
            name: buffer
            for name, buffer in model.named_buffers()
            if buffer.is_floating_point() and not name.startswith("encoder.")
        }
        self.average = self._copy_weights()
        self.init_weight = init_weight
        self.initial = self._copy_weights() if init_weight else {}
        self.first_step = 0

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the weights after a step (0 for the first)."""
        since = step - self.first_step
        decay = min(self.decay, (1 + since) / (WARMUP + since))
        torch._foreach_lerp_(list(self.average.values()), list(self._weights.values()), 1.0 - decay)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the evaluated weights inside the block, and its own again afterwards."""
        own = self._copy_weights()
        self._set_weights(
            {
                name: torch.lerp(value, self.initial[name], self.init_weight)
                for name, value in self.average.items()
            }
            if self.init_weight
            else self.average
        )
        try:
            yield
        finally:
            self._set_weights(own)

    def reset(self, init_weight: float = 0.0, first_step: int = 0) -> None:
        """Set the average and the phase's initial weights to the current weights.

        Args:
            init_weight: See above.
            first_step: The step after which the weights are random, and forgotten as at the start.
        """
        self.first_step = first_step
        now = {name: weight.detach() for name, weight in self._weights.items()}
        self.restore(now, now, init_weight)

    def restore(
        self, average: Mapping[str, Tensor], initial: Mapping[str, Tensor], init_weight: float
    ) -> None:
        """Restore a saved average, and the phase's initial weights where they have a weight.

        Raises:
            KeyError: an initial weight is missing.
        """
        for name, value in average.items():
            self.average[name].copy_(value)
        self.init_weight, self.initial = init_weight, {}
        if init_weight:
            self.initial = {
                name: initial[name].to(value.device, copy=True) for name, value in self.average.items()
            }

    def _copy_weights(self) -> dict[str, Tensor]:
        return {name: weight.detach().clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def _set_weights(self, values: dict[str, Tensor]) -> None:
        for name, weight in self._weights.items():
            weight.copy_(values[name])
