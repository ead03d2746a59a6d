"""A step is the same however its batch is cut: in parts, or shared by processes; float16 steps may be left out."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.config.preprocessing import Preprocessing
from showtell.config.recipe import CrossEntropy, Recipe, parse_recipe
from showtell.data.batches import Batch, Batches, BatchOptions
from showtell.data.prepared import PreparedSet
from showtell.data.views import ImageSource
from showtell.errors import TrainingError
from showtell.training.build import Components, build_components
from showtell.training.device import resolve_device_config
from showtell.training.distributed import DistributedContext
from showtell.training.objectives.losses import Objective, build_objective
from showtell.training.setup import set_up_training
from showtell.training.train_step import TrainStep
from showtell.training.trainer_state import build_trainer_state


def frozen_recipe(toy_recipe: Recipe, **training: object) -> Recipe:
    """Without dropout and batch norm, which see more than one picture at a time."""
    values = toy_recipe.model_dump(mode="json")
    values["decoder"] |= {"dropout": 0.0, "region_dropout": 0.0}
    values["training"] |= training
    return parse_recipe(values, "the recipe")


def build(recipe: Recipe, prepared: PreparedSet) -> Components:
    """Parts whose encoder is left out of training: features are made once, by the untrained encoder."""
    compute = resolve_device_config("cpu", recipe.training.precision)
    setup = set_up_training(recipe, data=prepared.directory, out=Path("nothing"), compute=compute)
    parts = build_components(setup, compute, None, DistributedContext())
    return replace(parts, model=CaptioningModel(parts.model.decoder))


def stepper_of(recipe: Recipe, parts: Components, processes: DistributedContext | None = None) -> TrainStep:
    parts = replace(parts, model=copy.deepcopy(parts.model))
    state = build_trainer_state(recipe, parts.model, parts.compute.scaler())
    return TrainStep(recipe, parts.model, state, parts.compute, processes or DistributedContext())


def batches_of(
    recipe: Recipe, prepared: PreparedSet, parts: Components, *, process: int, processes: int
) -> list[Batch]:
    options = BatchOptions(recipe.training.batch_size, 5, 20, True, 0, process, processes)
    rows = prepared.split_rows("train")
    live = ImageSource(prepared, Preprocessing(size=32))
    found = []
    for batch in Batches(prepared, rows, parts.tokenizer, live, options).epoch(0):
        with torch.no_grad():
            found.append(
                replace(batch, inputs=parts.encoder.eval()(batch.inputs)) if len(batch.rows) else batch
            )
    return found


def gradients(
    stepper: TrainStep, batch: Batch, objective: Objective
) -> tuple[list[torch.Tensor], float, int]:
    loss, weight, _ = stepper._add_gradients(batch, objective)
    found = [
        torch.zeros_like(one) if one.grad is None else one.grad.clone() for one in stepper.model.parameters()
    ]
    return found, float(loss), weight


@pytest.mark.parametrize(
    "micro_batch_size", [3, *(pytest.param(size, marks=pytest.mark.thorough) for size in (1, 5))]
)
def test_a_batch_in_parts_gives_the_step_of_the_whole(
    toy_set: PreparedSet, toy_recipe: Recipe, micro_batch_size: int
) -> None:
    recipe = frozen_recipe(toy_recipe, batch_size=5)
    parts = build(recipe, toy_set)
    objective = build_objective(CrossEntropy(), parts.batches)
    cut = frozen_recipe(toy_recipe, batch_size=5, micro_batch_size=micro_batch_size)
    whole, cut_up = stepper_of(recipe, parts), stepper_of(cut, parts)
    for batch in batches_of(recipe, toy_set, parts, process=0, processes=1):
        first, second = whole.step(batch, objective, 0.01), cut_up.step(batch, objective, 0.01)
        assert (first.num_tokens, first.captions) == (second.num_tokens, second.captions)
        assert second.loss == pytest.approx(first.loss, rel=1e-6)
    # Adam divides by the root of tiny second moments: measured 5e-7 after four steps of 0.01.
    for one, other in zip(whole.model.parameters(), cut_up.model.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5, rtol=0)
    assert whole.state.progress.step == cut_up.state.progress.step == 4


@pytest.mark.parametrize("processes", [2, 3, 7])
def test_the_shares_of_a_batch_add_up_to_the_whole(
    toy_set: PreparedSet, toy_recipe: Recipe, processes: int
) -> None:
    recipe = frozen_recipe(toy_recipe, batch_size=5)
    parts = build(recipe, toy_set)
    objective = build_objective(CrossEntropy(), parts.batches)
    whole = batches_of(recipe, toy_set, parts, process=0, processes=1)
    shares = [
        batches_of(recipe, toy_set, parts, process=one, processes=processes) for one in range(processes)
    ]
    assert len(whole[-1].rows) == 1
    for position, batch in enumerate(whole):
        mine = [share[position] for share in shares]
        rows = sorted(int(row) for share in mine for row in share.rows)
        assert rows == sorted(batch.rows.tolist())
        expected, loss, weight = gradients(stepper_of(recipe, parts), batch, objective)
        found = [gradients(stepper_of(recipe, parts), share, objective) for share in mine]
        assert sum(one[2] for one in found) == weight
        assert sum(one[1] for one in found) == pytest.approx(loss, rel=1e-6)
        for number, gradient in enumerate(expected):
            total = torch.stack([one[0][number] for one in found]).sum(dim=0)
            assert torch.allclose(total, gradient, atol=1e-6)


def test_a_float16_step_that_overflows_is_left_out_and_counted(
    toy_set: PreparedSet, toy_recipe: Recipe
) -> None:
    recipe = frozen_recipe(toy_recipe, precision="fp16")
    parts = build(recipe, toy_set)
    stepper = stepper_of(recipe, parts)
    learn = build_objective(CrossEntropy(), parts.batches)

    def overflow(
        model: CaptioningModel, batch: Batch, step: int
    ) -> tuple[torch.Tensor, int, dict[str, float]]:
        loss, weight, numbers = learn(model, batch, step)
        return loss * (1e35 if step == 1 else 1.0), weight, numbers

    batches = batches_of(recipe, toy_set, parts, process=0, processes=1)
    first = stepper.step(batches[0], overflow, 0.01)
    assert first.norm is not None
    before = copy.deepcopy(stepper.state.snapshot()[0])
    scale = stepper.state.scaler.get_scale()
    assert stepper.step(batches[1], overflow, 0.01).norm is None
    for name, value in stepper.state.snapshot()[0].items():
        assert torch.equal(value, before[name]), name
    assert stepper.state.scaler.get_scale() == scale / 2
    state = stepper.state.progress
    assert (state.step, state.batch_in_epoch, state.skipped) == (2, 2, 1)
    assert stepper.step(batches[2], overflow, 0.01).norm is not None
    assert stepper.state.progress.skipped == 1


def test_gradients_that_overflow_for_ever_end_the_run(toy_set: PreparedSet, toy_recipe: Recipe) -> None:
    recipe = frozen_recipe(toy_recipe, precision="fp16")
    parts = build(recipe, toy_set)
    stepper = stepper_of(recipe, parts)
    learn = build_objective(CrossEntropy(), parts.batches)

    def overflow(
        model: CaptioningModel, batch: Batch, step: int
    ) -> tuple[torch.Tensor, int, dict[str, float]]:
        loss, weight, numbers = learn(model, batch, step)
        loss.register_hook(lambda gradient: gradient * float("inf"))
        return loss, weight, numbers

    batch = batches_of(recipe, toy_set, parts, process=0, processes=1)[0]
    for _ in range(26):
        assert stepper.step(batch, overflow, 0.01).norm is None
    with pytest.raises(TrainingError, match=r"diverged at step 27: found a gradient norm of .*fp32"):
        stepper.step(batch, overflow, 0.01)


def test_an_objective_may_tell_more_of_all_parts(toy_set: PreparedSet, toy_recipe: Recipe) -> None:
    recipe = frozen_recipe(toy_recipe, batch_size=5, micro_batch_size=2)
    parts = build(recipe, toy_set)
    learn = build_objective(CrossEntropy(), parts.batches)

    def told(model: CaptioningModel, batch: Batch, step: int) -> tuple[torch.Tensor, int, dict[str, float]]:
        loss, weight, _ = learn(model, batch, step)
        return loss, weight, {"loss once more": float(loss.detach())}

    done = stepper_of(recipe, parts).step(
        batches_of(recipe, toy_set, parts, process=0, processes=1)[0], told, 0.01
    )
    assert done.sums["loss once more"] == pytest.approx(done.loss, rel=1e-6)
