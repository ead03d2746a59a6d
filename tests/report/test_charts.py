"""Charts: round ticks that enclose the values, a value at every point, nothing that is not a number drawn."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.errors import DataError
from showtell.report.charts import (
    BOTTOM,
    EPOCHS,
    HEIGHT,
    LEFT,
    MAX_POINTS,
    MAX_TICKS,
    RIGHT,
    STEPS,
    TOP,
    WIDTH,
    Axis,
    Chart,
    Series,
    axis_ticks,
    downsample,
    nice_ticks,
)


def chart_svg(series: list[Series], axis: Axis = EPOCHS) -> str:
    return Chart("x", "", series, axis).svg()


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
    assert nice_ticks(0.0, 0.0) == [0.0, 0.5, 1.0]
    assert nice_ticks(-0.0625, -0.0625)[0] < -0.0625


def test_whole_ticks_are_round_and_at_most_six() -> None:
    assert axis_ticks(EPOCHS, 1, 1) == [1]
    assert axis_ticks(EPOCHS, 1, 2) == [1, 2]
    assert axis_ticks(EPOCHS, 1, 6) == [1, 2, 3, 4, 5, 6]
    assert axis_ticks(EPOCHS, 1, 100) == [20, 40, 60, 80, 100]
    assert axis_ticks(STEPS, 20, 60) == [20, 30, 40, 50, 60]


def test_scores_that_hardly_differ_do_not_fill_the_axis() -> None:
    assert nice_ticks(6e-13, 1e-12, 1.0) == [0.0, 0.5, 1.0]
    assert nice_ticks(20.0, 20.1, 1.0) == [19.5, 20.0, 20.5, 21.0]


def test_higher_values_are_drawn_higher_and_later_epochs_further_right() -> None:
    svg = chart_svg([Series("training", "c1", [(1, 3.0), (2, 2.0), (3, 1.0)])])
    drawn = places(svg)
    assert drawn == sorted(drawn)
    assert [y for _, y in drawn] == sorted(y for _, y in drawn)
    assert drawn[0][0] == LEFT
    assert drawn[-1][0] == WIDTH - RIGHT
    assert all(TOP <= y <= HEIGHT - BOTTOM for _, y in drawn)
    ElementTree.fromstring(svg)


def test_each_point_has_its_value() -> None:
    svg = chart_svg([Series("validation", "c2", [(2, 18.54321)])])
    assert "<title>validation, epoch 2: 18.54</title>" in svg


def test_values_that_are_not_finite_are_left_out() -> None:
    svg = chart_svg([Series("training", "c1", [(1, math.nan), (2, 1.0), (3, math.inf)])])
    assert len(places(svg)) == 1
    assert "nan" not in svg
    assert "inf" not in svg


def test_a_chart_without_values_is_empty() -> None:
    chart = Chart("x", "", [Series("training", "c1", [(1, math.nan)])])
    assert chart.is_empty
    with pytest.raises(DataError, match="nothing to draw: found no values for x"):
        chart.svg()


def test_small_values_keep_their_ticks_apart() -> None:
    assert nice_ticks(0.0, 1e-4) == pytest.approx([0, 5e-5, 1e-4])
    assert nice_ticks(3e-5, 3e-5) == pytest.approx([2.6e-5, 2.8e-5, 3e-5, 3.2e-5, 3.4e-5])
    assert len(set(nice_ticks(1e-12, 5e-12))) >= 4


@given(st.floats(1e-6, 1e3), st.floats(0, 1e6))
def test_ticks_from_left_to_right_are_few_and_inside(first: float, width: float) -> None:
    for axis in (Axis("x", is_whole=False), Axis("lr", is_whole=False, is_log=True), STEPS):
        ticks = axis_ticks(axis, first, first + width)
        assert len(ticks) <= MAX_TICKS
        assert all(first * 0.999 <= tick <= (first + width) * 1.001 for tick in ticks)
        assert ticks == sorted(ticks)


def test_a_logarithmic_axis_puts_factors_at_equal_distances() -> None:
    axis = Axis("lr", is_whole=False, is_log=True, form="apart")
    svg = chart_svg([Series("done", "c2", [(1e-4, 3.0), (1e-3, 2.0), (1e-2, 1.0)])], axis)
    (left, _), (middle, _), (right, _) = places(svg)
    assert middle - left == pytest.approx(right - middle, abs=0.2)
    for text in (">0.0001<", ">0.001<", ">0.01<"):
        assert text in svg


def test_many_points_are_thinned_to_means_that_keep_the_sum() -> None:
    points = [(float(step), float(step % 7)) for step in range(1, 1001)]
    few = downsample(points)
    assert len(few) <= MAX_POINTS
    assert few[-1][0] == 1000.0
    assert few[0] == (9.0, sum(step % 7 for step in range(1, 10)) / 9)
    assert downsample(points[:50]) == points[:50]
    assert len(places(chart_svg([Series("lr", "c1", points)], STEPS))) == len(few)


def test_a_label_at_the_right_edge_is_not_cut() -> None:
    axis = Axis("lr", is_whole=False, is_log=True, form="apart")
    svg = chart_svg([Series("done", "c2", [(1e-5, 3.0), (1e-4, 2.0)])], axis)
    ((x, anchor),) = re.findall(r'x="([^"]+)" y="[^"]+" text-anchor="(\w+)">0.0001<', svg)
    assert (float(x), anchor) == (WIDTH - 2, "end")


def test_the_legend_keeps_its_order_while_one_line_is_on_top() -> None:
    series = [Series("0.1", "c1", [(1, 2.0)], on_top=True), Series("0.2", "c2", [(1, 1.0)])]
    chart = Chart("Loss", "", [*series, Series("rest", "other", [(1, 3.0)])])
    assert [one.name for one in chart.legend] == ["0.1", "0.2"]
    assert re.findall(r"<title>([^,]+),", chart.svg()) == ["0.2", "rest", "0.1"]


def test_a_standalone_chart_has_title_unit_and_legend() -> None:
    chart = Chart("Loss", "nats & tokens", [Series("<i>", "c1", [(1, 2.0)]), Series("b", "c2", [(1, 2.0)])])
    drawing = ElementTree.fromstring(chart.svg(standalone=True))
    texts = ["".join(one.itertext()) for one in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[:3] == ["Lossnats & tokens", "<i>", "b"]
    assert texts[-1] == "epoch"
    assert "<i>" not in chart.svg()
