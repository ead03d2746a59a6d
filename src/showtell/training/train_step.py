"""One optimizer step, whatever the objective: its batch may be cut into parts and shared by processes.

The gradient of a step is that of the summed loss of all parts of all processes, divided by their weights together
(tokens, or samples). However the batch was cut, that is the same number.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.config.recipe import Recipe
from showtell.data.batches import Batch
from showtell.errors import ShowtellError, TrainingError
from showtell.training.device import DeviceConfig
from showtell.training.distributed import DistributedContext, ProcessError
from showtell.training.losses import Objective
from showtell.training.seeding import derive_seed
from showtell.training.trainer_state import TrainerState, trained_state

SMALLEST_SCALE = 2.0**-10
"""Gradients that overflow float16 even when scaled so far down are not only large."""


@dataclass(frozen=True)
class StepResult:
    """What a step did, all processes together.

    Attributes:
        loss: Summed loss.
        weight: What it was divided by.
        norm: Of the gradient, before clipping; None where it overflowed float16 and the step was left out.
        captions: Captions seen.
        parts: The objective's other sums, of this process alone; they are logged divided by the weight too.
    """

    loss: float
    weight: int
    norm: float | None
    captions: int
    parts: Counter[str]


@dataclass(frozen=True)
class TrainStep:
    """Does the steps of a run.

    Args:
        recipe: The run's.
        model: What is trained.
        moving: All that a step changes.
        compute: Device and precision.
        processes: Who shares each batch.
        pad_id: Fills what is no caption.
    """

    recipe: Recipe
    model: CaptioningModel
    moving: TrainerState
    compute: DeviceConfig
    processes: DistributedContext
    pad_id: int

    @cached_property
    def _weights(self) -> list[nn.Parameter]:
        return [weight for weight in self.model.parameters() if weight.requires_grad]

    @cached_property
    def _statistics(self) -> list[Tensor]:
        """The running means and variances of batch norm."""
        return [
            value
            for value in trained_state(self.model).values()
            if not isinstance(value, nn.Parameter) and value.is_floating_point()
        ]

    @property
    def _most_tokens(self) -> int:
        """What the loss is divided by first: all know it before they start, the right number when all are done."""
        data = self.recipe.data
        return self.recipe.training.batch_size * data.captions_per_image * (data.max_tokens + 1)

    def step(self, batch: Batch, objective: Objective, rate: float) -> StepResult:
        """Learn from this process's share of a batch, and count the step.

        Raises:
            TrainingError: the loss or its gradient is not finite.
        """
        moving, state = self.moving, self.moving.progress
        for group in moving.optimizer.param_groups:
            group["lr"] = rate
        loss, weight, parts = self._add_gradients(batch, objective)
        captions = int((batch.tokens[:, :, :1] != self.pad_id).sum())
        sums = torch.tensor([0.0, weight, captions], device=self.compute.device)
        sums[0] = loss
        if self.processes.count > 1:
            self._add_up(sums)
        value, weight, captions = float(sums[0]), int(sums[1]), int(sums[2])
        if not math.isfinite(value):
            raise self._cannot_go_on(f"a loss of {value}")
        norm = self._update(weight)
        if norm is None:
            state.skipped += 1
        else:
            moving.average.update(state.step)
        state.step += 1
        state.position += 1
        state.loss += value
        state.tokens += weight
        return StepResult(value, weight, norm, captions, parts)

    def _add_gradients(self, batch: Batch, objective: Objective) -> tuple[Tensor, int, Counter[str]]:
        """Leave in the weights the gradient of the batch's summed loss over `_most_tokens`."""
        options, state = self.recipe.training, self.moving.progress
        _seed_step(options.seed, state.step, self.processes.rank)
        self.moving.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.compute.device)
        weight, sums = 0, Counter[str]()
        for part in batch.split(options.micro_batch_size):
            with self.compute.autocast():
                loss, its_weight, numbers = objective(self.model, part.to(self.compute.device), state.step)
            self.moving.scaler.scale(loss / self._most_tokens).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
            weight += its_weight
            sums.update(numbers)
        return total, weight, sums

    def _add_up(self, sums: Tensor) -> None:
        """Add up gradients and sums over all processes, and let batch norm's statistics be the mean of all."""
        for one in self._weights:
            if one.grad is None:
                one.grad = torch.zeros_like(one)
        gradients = [one.grad for one in self._weights if one.grad is not None]
        for statistic in self._statistics:
            statistic.div_(self.processes.count)
        self.processes.add([*gradients, *self._statistics, sums])

    def _update(self, weight: int) -> float | None:
        """Move the weights, and return the norm of the gradient; None where float16 overflowed and they stay."""
        moving, scaler = self.moving, self.moving.scaler
        gradients = [one.grad for one in self._weights if one.grad is not None]
        scaler.unscale_(moving.optimizer)
        factor = self._most_tokens / max(1, weight)
        norm = factor * float(nn.utils.get_total_norm(gradients))
        if not math.isfinite(norm):
            scaler.update()
            if not scaler.is_enabled() or scaler.get_scale() < SMALLEST_SCALE:
                raise self._cannot_go_on(f"a gradient norm of {norm}")
            return None
        clip = self.recipe.optimizer.max_grad_norm
        torch._foreach_mul_(gradients, factor * min(1.0, clip / (norm + 1e-6)) if clip else factor)
        moving.optimizer.step()
        scaler.update()
        return norm

    def _cannot_go_on(self, found: str) -> ShowtellError:
        what = f"training cannot go on at step {self.moving.progress.step + 1}"
        if not self.processes.is_main_process:
            # All know it; one says it.
            return ProcessError(what, found=found)
        return TrainingError(
            what,
            found=found,
            mend="Start again with a smaller --set optimizer.lr, or --set training.precision=fp32",
        )


def _seed_step(seed: int, step: int, rank: int) -> None:
    """Make a step's dropout a function of (seed, step, process), so that going on needs no generator's state."""
    words = (seed, step, rank) if rank else (seed, step)
    torch.manual_seed(derive_seed(*words))
