"""The moving average of weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from showtell.training.averaging import WeightAverage


def test_the_average_follows_its_formula() -> None:
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    average, wanted = WeightAverage(model, 0.5), 0.0
    for step, value in enumerate((1.0, 2.0, 4.0)):
        with torch.no_grad():
            model.weight.fill_(value)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * value
    assert average.average["weight"].item() == pytest.approx(wanted)


def test_no_decay_means_the_weights_themselves() -> None:
    model = nn.Linear(2, 2)
    average = WeightAverage(model, 0.0)
    with torch.no_grad():
        model.weight.add_(1.0)
    average.update(0)
    assert torch.equal(average.average["weight"], model.weight)


def test_the_model_gets_its_own_weights_back_even_after_an_error() -> None:
    model = nn.Linear(2, 2)
    average = WeightAverage(model, 0.9)
    with torch.no_grad():
        model.weight.add_(1.0)
    own = model.weight.detach().clone()
    with pytest.raises(RuntimeError, match="inside"), average.applied():  # noqa: PT012
        assert not torch.equal(model.weight, own)
        raise RuntimeError("inside")
    assert torch.equal(model.weight, own)


def test_frozen_weights_are_left_alone() -> None:
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    assert set(WeightAverage(model, 0.9).average) == {"weight"}
