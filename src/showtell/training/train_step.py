"""One optimizer step: its batch can be split into micro-batches and over processes.

The gradient of a step is that of the summed loss of all parts in all processes, divided by their total number of
tokens. However the batch is split, that is the same number.
"""

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.config.recipe import Recipe
from showtell.data.batches import Batch
from showtell.errors import ShowtellError, TrainingError
from showtell.training.device import DeviceConfig
from showtell.training.distributed import SINGLE_PROCESS, DistributedContext, ProcessError
from showtell.training.ema import trainable_weights
from showtell.training.objectives.losses import Objective
from showtell.training.trainer_state import TrainerState, trained_state

MIN_LOSS_SCALE = 2.0**-10
"""Gradients that overflow float16 at this loss scale are not merely large."""


@dataclass(frozen=True)
class StepResult:
    """Result of a step over all processes."""

    loss: float  # summed over the tokens
    num_tokens: int
    norm: float | None  # of the gradient before clipping; None if float16 overflowed and the step was skipped
    captions: int
    sums: Counter[str]  # the objective's other sums, of this process only


@dataclass(frozen=True)
class TrainStep:
    """The optimizer steps of a run: all that a step changes is in ``model`` and ``state``."""

    recipe: Recipe
    model: CaptioningModel
    state: TrainerState
    compute: DeviceConfig
    processes: DistributedContext = SINGLE_PROCESS

    @cached_property
    def _max_tokens(self) -> int:
        """Upper bound of the tokens in a batch.

        The loss is divided by it first, since the real number is known only after the last micro-batch.
        """
        data = self.recipe.data
        return self.recipe.training.batch_size * data.captions_per_image * (data.max_tokens + 1)

    @cached_property
    def _weights(self) -> list[nn.Parameter]:
        return list(trainable_weights(self.model).values())

    @cached_property
    def _statistics(self) -> list[Tensor]:
        """The running means and variances of batch norm."""
        return [
            value
            for value in trained_state(self.model).values()
            if not isinstance(value, nn.Parameter) and value.is_floating_point()
        ]

    def step(self, batch: Batch, objective: Objective, lr: float) -> StepResult:
        """Train on this process's shard of a batch, and count the step.

        Raises:
            TrainingError: the loss or its gradient is not finite.
        """
        state, progress = self.state, self.state.progress
        for group in state.optimizer.param_groups:
            group["lr"] = lr
        loss, num_tokens, parts = self._add_gradients(batch, objective)
        captions = int((batch.tokens[:, :, :1] != self.model.decoder.pad_id).sum())
        sums = torch.tensor([0.0, num_tokens, captions], device=self.compute.device)
        sums[0] = loss
        if self.processes.world_size > 1:
            self._all_reduce(sums)
        value, num_tokens, captions = float(sums[0]), int(sums[1]), int(sums[2])
        if not math.isfinite(value):
            raise self.divergence_error(f"a loss of {value}")
        norm = self._update(num_tokens)
        if norm is None:
            progress.skipped += 1
        else:
            state.ema.update(progress.step)
        progress.step += 1
        progress.batch_in_epoch += 1
        progress.loss += value
        progress.tokens += num_tokens
        return StepResult(value, num_tokens, norm, captions, parts)

    def _add_gradients(self, batch: Batch, objective: Objective) -> tuple[Tensor, int, Counter[str]]:
        """Leave the gradient of the batch's summed loss over `_max_tokens` in the weights."""
        step, rank, training = self.state.progress.step, self.processes.rank, self.recipe.training
        # A function of (seed, step, rank), so that resuming needs no generator state.
        torch.manual_seed(derive_seed(training.seed, step, *([rank] if rank else [])))
        self.state.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.compute.device)
        num_tokens, sums = 0, Counter[str]()
        for part in batch.split(training.micro_batch_size):
            with self.compute.autocast():
                loss, part_tokens, part_sums = objective(self.model, part.to(self.compute.device), step)
            self.state.scaler.scale(loss / self._max_tokens).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
            num_tokens += part_tokens
            sums.update(part_sums)
        return total, num_tokens, sums

    def _all_reduce(self, sums: Tensor) -> None:
        """Sum gradients and sums over all processes, and average the statistics of batch norm."""
        for weight in self._weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        gradients = [weight.grad for weight in self._weights if weight.grad is not None]
        for statistic in self._statistics:
            statistic.div_(self.processes.world_size)
        self.processes.all_reduce([*gradients, *self._statistics, sums])

    def _update(self, num_tokens: int) -> float | None:
        """Update the weights and return the gradient norm; None if float16 overflowed and they did not change."""
        state, scaler = self.state, self.state.scaler
        gradients = [weight.grad for weight in self._weights if weight.grad is not None]
        scaler.unscale_(state.optimizer)
        factor = self._max_tokens / max(1, num_tokens)
        norm = factor * float(nn.utils.get_total_norm(gradients))
        if not math.isfinite(norm):
            scaler.update()
            if not scaler.is_enabled() or scaler.get_scale() < MIN_LOSS_SCALE:
                raise self.divergence_error(f"a gradient norm of {norm}")
            return None
        limit = self.recipe.optimizer.max_grad_norm
        torch._foreach_mul_(gradients, factor * min(1.0, limit / (norm + 1e-6)) if limit else factor)
        state.optimizer.step()
        scaler.update()
        return norm

    def divergence_error(self, found: str) -> ShowtellError:
        """Return the error for numbers that are not finite."""
        what = f"training diverged at step {self.state.progress.step + 1}"
        if not self.processes.is_main_process:
            # All processes raise; the main one reports it.
            return ProcessError(what, found=found)
        return TrainingError(
            what,
            found=found,
            mend="Start again with a smaller --set optimizer.lr, or --set training.precision=fp32",
        )


def derive_seed(*words: int) -> int:
    """Return a seed, 0 to 2^63 - 1, that is a function of all the words and of their order."""
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)
