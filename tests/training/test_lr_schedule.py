"""Learning rates: warm-up, cosine, plateau."""

from __future__ import annotations

import pytest

from showtell.config.recipe import ScheduleOptions
from showtell.training.lr_schedule import ReduceOnPlateau, lr_scale


def test_warmup_rises_linearly_to_the_peak() -> None:
    options = ScheduleOptions(name="constant", warmup_steps=4)
    assert [lr_scale(step, 100, options) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_cosine_falls_from_the_peak_to_the_floor() -> None:
    options = ScheduleOptions(name="cosine", warmup_steps=0, min_lr_ratio=0.1)
    rates = [lr_scale(step, 10, options) for step in range(11)]
    assert rates[0] == 1.0
    assert rates[5] == pytest.approx(0.55)
    assert rates[10] == pytest.approx(0.1)
    assert rates == sorted(rates, reverse=True)
    assert lr_scale(50, 10, options) == pytest.approx(0.1)


def test_a_plateau_lowers_the_rate_after_its_patience() -> None:
    plateau = ReduceOnPlateau(ScheduleOptions(name="plateau", factor=0.5, patience=1, min_lr_ratio=0.2))
    shares = []
    for is_better in (True, False, False, False, False, False, False, False, False):
        plateau.update(is_better)
        shares.append(plateau.lr_scale)
    assert shares == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2, 0.2]


def test_a_plateau_goes_on_from_its_state() -> None:
    options = ScheduleOptions(name="plateau", factor=0.5, patience=1)
    first, second = ReduceOnPlateau(options), ReduceOnPlateau(options)
    first.update(False)
    second.restore(first.state())
    second.update(False)
    assert second.lr_scale == 0.5


def test_other_schedules_never_plateau() -> None:
    plateau = ReduceOnPlateau(ScheduleOptions(name="cosine", patience=0))
    for _ in range(5):
        plateau.update(False)
    assert plateau.lr_scale == 1.0
