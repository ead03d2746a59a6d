"""Charts: round ticks that enclose the values, every point told, nothing that is not a number drawn."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.report.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    MOST_POINTS,
    MOST_TICKS,
    RIGHT,
    STEPS,
    TOP,
    WIDTH,
    Axis,
    Series,
    downsample,
    epoch_ticks,
    figure,
    line_chart,
    nice_ticks,
    place_ticks,
)


def places(svg: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r'cx="([^"]+)" cy="([^"]+)"', svg)]


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_ticks_enclose_the_values_and_are_few_and_even(low: float, width: float) -> None:
    ticks = nice_ticks(low, low + width)
    slack = 1e-6 * max(1.0, abs(low), width)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= low + width - slack
    assert 2 <= len(ticks) <= 7
    steps = [after - before for before, after in pairwise(ticks)]
    assert max(steps) - min(steps) < 1e-6 * max(steps) + 1e-9 * abs(low)


def test_ticks_are_round() -> None:
    assert nice_ticks(0.0, 19.3) == [0, 5, 10, 15, 20]
    assert nice_ticks(1.21, 3.4) == [1, 2, 3, 4]
    assert nice_ticks(2.0, 2.0) == [1.8, 1.9, 2.0, 2.1, 2.2]
    assert nice_ticks(0.0, 0.0) == [-0.5, 0.0, 0.5]


def test_epoch_ticks_are_whole_and_at_most_six() -> None:
    assert epoch_ticks(1, 1) == [1]
    assert epoch_ticks(1, 6) == [1, 2, 3, 4, 5, 6]
    assert epoch_ticks(1, 100) == [1, 18, 35, 52, 69, 86]


def test_higher_values_are_drawn_higher_and_later_epochs_further_right() -> None:
    svg = line_chart("loss by epoch", [Series("training", "train", [(1, 3.0), (2, 2.0), (3, 1.0)])])
    drawn = places(svg)
    assert drawn == sorted(drawn)
    assert [y for _, y in drawn] == sorted(y for _, y in drawn)
    assert drawn[0][0] == LEFT
    assert drawn[-1][0] == WIDTH - RIGHT
    assert all(TOP <= y <= HEIGHT - BOTTOM for _, y in drawn)
    ElementTree.fromstring(svg)


def test_each_point_tells_its_value() -> None:
    svg = line_chart("x", [Series("validation", "dev", [(2, 18.54321)])])
    assert "<title>validation, epoch 2: 18.54</title>" in svg


def test_values_that_are_not_finite_are_left_out() -> None:
    svg = line_chart("x", [Series("training", "train", [(1, math.nan), (2, 1.0), (3, math.inf)])])
    assert len(places(svg)) == 1
    assert "nan" not in svg
    assert "inf" not in svg


def test_nothing_measured_is_said() -> None:
    assert line_chart("x", []) == '<p class="none">Nothing measured yet.</p>'


def test_small_values_keep_their_ticks_apart() -> None:
    assert nice_ticks(0.0, 1e-4) == pytest.approx([0, 5e-5, 1e-4])
    assert nice_ticks(3e-5, 3e-5) == pytest.approx([2.6e-5, 2.8e-5, 3e-5, 3.2e-5, 3.4e-5])
    assert len(set(nice_ticks(1e-12, 5e-12))) >= 4


@given(st.floats(1e-6, 1e3), st.floats(0, 1e6))
def test_ticks_from_left_to_right_are_few_and_inside(first: float, width: float) -> None:
    for axis in (Axis("x", is_whole=False), Axis("lr", is_whole=False, is_log=True), STEPS):
        ticks = place_ticks(axis, first, first + width)
        assert len(ticks) <= MOST_TICKS
        assert all(first * 0.999 <= tick <= (first + width) * 1.001 for tick in ticks)
        assert ticks == sorted(ticks)


def test_a_logarithmic_axis_puts_factors_at_equal_distances() -> None:
    axis = Axis("lr", is_whole=False, is_log=True, form="apart")
    svg = line_chart("loss by lr", [Series("done", "dev", [(1e-4, 3.0), (1e-3, 2.0), (1e-2, 1.0)])], axis)
    (left, _), (middle, _), (right, _) = places(svg)
    assert middle - left == pytest.approx(right - middle, abs=0.2)
    for text in (">0.0001<", ">0.001<", ">0.01<"):
        assert text in svg


def test_many_points_are_thinned_to_means_that_keep_the_sum() -> None:
    points = [(float(step), float(step % 7)) for step in range(1, 1001)]
    few = downsample(points)
    assert len(few) <= MOST_POINTS
    assert few[-1][0] == 1000.0
    assert few[0] == (9.0, sum(step % 7 for step in range(1, 10)) / 9)
    assert downsample(points[:50]) == points[:50]
    assert len(places(line_chart("x", [Series("lr", "train", points)], STEPS))) == len(few)


def test_names_in_charts_are_text() -> None:
    html = figure("Loss", "", [Series("<b>", "c1", [(1, 2.0)]), Series("<i>", "c2", [(1, 2.0)])])
    assert "<b><" not in html.replace("<figcaption><b>Loss", "")
    assert "&lt;i&gt;" in html
