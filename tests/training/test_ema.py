"""The moving average of weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from showtell.training.ema import WeightAverage


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


def test_new_weights_are_forgotten_as_fast_as_those_of_the_start() -> None:
    model = nn.Linear(1, 1, bias=False)
    at_start, later = WeightAverage(model, 0.99), WeightAverage(model, 0.99)
    later.reset(first_step=5000)
    for step in range(3):
        with torch.no_grad():
            model.weight.add_(1.0)
        at_start.update(step)
        later.update(5000 + step)
    assert torch.equal(at_start.average["weight"], later.average["weight"])


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


def test_a_share_of_the_first_weights_stays_until_the_next_phase_begins() -> None:
    model = nn.Linear(1, 1, bias=False)

    def set_to(value: float) -> None:
        with torch.no_grad():
            model.weight.fill_(value)

    def judged() -> float:
        with average.applied():
            return model.weight.item()

    set_to(2.0)
    average = WeightAverage(model, 0.0, init_weight=0.25)
    set_to(6.0)
    average.update(0)
    assert judged() == pytest.approx(0.75 * 6.0 + 0.25 * 2.0)
    assert model.weight.item() == 6.0
    kept = WeightAverage(model, 0.0)
    kept.restore(average.average, average.initial, average.init_weight)
    with kept.applied():
        assert model.weight.item() == pytest.approx(5.0)
    average.reset()
    set_to(8.0)
    average.update(1)
    assert judged() == pytest.approx(8.0)
    assert not average.initial


def test_first_weights_that_are_gone_are_not_made_up() -> None:
    average = WeightAverage(nn.Linear(2, 2), 0.9, init_weight=0.5)
    with pytest.raises(KeyError, match="weight"):
        average.restore(average.average, {}, 0.5)


def test_frozen_weights_are_left_alone() -> None:
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    assert set(WeightAverage(model, 0.9).average) == {"weight"}


def test_a_decoders_statistics_are_averaged_with_its_weights_and_an_encoders_are_not() -> None:
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    model = nn.ModuleDict({"decoder": decoder, "encoder": nn.BatchNorm1d(3)}).train()
    average = WeightAverage(model, 0.98)
    names = {name for name in average.average if "running" in name}
    assert names == {"decoder.1.running_mean", "decoder.1.running_var"}
    pictures = torch.rand(64, 3)
    for step in range(400):
        # Weights that drift: the latest statistics fit the latest weights alone.
        with torch.no_grad():
            decoder[0].weight.add_(0.05)
        decoder(pictures)
        average.update(step)
    latest = decoder[1].running_mean.clone()
    with average.applied():
        found = decoder[0](pictures).detach().mean(0)
        with_latest = float((found - latest).abs().mean())
        with_averaged = float((found - decoder[1].running_mean).abs().mean())
    # A momentum of 0.1 lags 9 steps behind the weights it sees, an average of 0.98 lags 36 (of 400 steps) behind.
    assert with_averaged < 0.4 * with_latest
    assert torch.equal(decoder[1].running_mean, latest)
