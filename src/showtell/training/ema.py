"""Exponential moving average (EMA) of the weights, which is evaluated and saved in place of the last step's."""

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

WARMUP = 10


def trainable_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights that are not frozen, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


class WeightAverage:
    """EMA of the trainable weights (Polyak and Juditsky 1992, exponential form).

    The decay is ``min(decay, (1 + step) / (10 + step))``, so that the average forgets the random initial weights. The
    decoder's batch-norm statistics are averaged too: the mean of a linear layer's output is linear in its weights. A
    trained encoder keeps its latest statistics: the small one was measured with them.

    ``init_weight`` is the weight of the phase's initial weights in the evaluated ones: an interpolation is often
    better than either (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", section 3).
    """

    def __init__(self, model: nn.Module, decay: float, init_weight: float = 0.0) -> None:
        self.decay, self.first_step = decay, 0
        self._weights: dict[str, Tensor] = {**trainable_weights(model)}
        self._weights |= {
            name: buffer
            for name, buffer in model.named_buffers()
            if buffer.is_floating_point() and not name.startswith("encoder.")
        }
        self.average = self._copy_weights()
        self.init_weight = init_weight
        self.initial = self._copy_weights() if init_weight else {}

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
        values = self.average
        if self.init_weight:
            values = {
                name: value.lerp(self.initial[name], self.init_weight) for name, value in values.items()
            }
        self._set_weights(values)
        try:
            yield
        finally:
            self._set_weights(own)

    def reset(self, init_weight: float = 0.0, first_step: int = 0) -> None:
        """Set the average and the phase's initial weights to the current weights.

        Weights that are random after ``first_step`` are forgotten as at the start.
        """
        self.first_step = first_step
        now = {name: weight.detach() for name, weight in self._weights.items()}
        self.restore(now, now, init_weight)

    def restore(
        self, average: Mapping[str, Tensor], initial: Mapping[str, Tensor], init_weight: float
    ) -> None:
        """Restore a saved average, and the phase's initial weights (KeyError: one is missing) if they count."""
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
