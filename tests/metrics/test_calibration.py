"""Calibration error and risk against coverage, against cases that are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.metrics.calibration import (
    aurc,
    aurc_difference,
    calibration_error,
    reliability,
    selective_risks,
)

GENERATOR = np.random.default_rng(0)
PROBABILITIES = GENERATOR.random(20_000)
RIGHT = GENERATOR.random(20_000) < PROBABILITIES


def error(probabilities: np.ndarray, right: np.ndarray) -> float:
    return calibration_error(reliability(probabilities, right))


def test_the_error_of_perfectly_calibrated_predictions_is_nearly_zero() -> None:
    assert error(PROBABILITIES, RIGHT) < 0.02


def test_the_error_of_constant_predictions_is_their_distance_from_the_frequency() -> None:
    right = np.arange(10) < 4
    assert error(np.full(10, 0.9), right) == pytest.approx(0.5)
    assert error(np.full(10, 0.4), right) == pytest.approx(0.0)


def test_bins_hold_all_predictions_also_certain_ones() -> None:
    bins = reliability(np.array([0.0, 0.5, 1.0, 1.0]), np.array([False, True, True, False]))
    assert [(each.confidence, each.right, each.count) for each in bins] == [
        (0, 0, 1),
        (0.5, 1, 1),
        (1, 0.5, 2),
    ]


def test_risk_is_the_mean_of_what_is_kept() -> None:
    risks = np.array([1.0, 0.0, 0.0, 1.0])
    assert selective_risks(np.array([0.1, 0.9, 0.8, 0.2]), risks).tolist() == [
        0,
        0,
        pytest.approx(1 / 3),
        0.5,
    ]


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_no_ranking_is_better_than_that_by_the_risk(wrong: list[bool]) -> None:
    risks = np.array(wrong, float)
    other = np.random.default_rng(len(wrong)).permutation(len(wrong)).astype(float)
    assert aurc(-risks, risks) <= aurc(other, risks) + 1e-12 <= aurc(risks, risks) + 2e-12


def test_the_difference_of_a_better_ranking_is_negative_and_that_of_the_same_is_zero() -> None:
    wrong = ~RIGHT[:500]
    value, low, high = aurc_difference(PROBABILITIES[:500], GENERATOR.random(500), wrong, draws=200)
    assert low < value < high < 0
    assert aurc_difference(PROBABILITIES[:500], PROBABILITIES[:500], wrong, draws=20) == (0.0, 0.0, 0.0)
