"""Line charts as SVG: few series, one scale."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from markupsafe import Markup

from showtell.errors import DataError
from showtell.report.templates import render

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 14, 34
HEADING_HEIGHT = 46
CHARACTER_WIDTH = 6.6
MAX_TICKS = 6
MAX_DOTS, MAX_POINTS = 30, 120
# Light colors of page.css, for charts outside a page.
COLORS = {
    "c1": "#2f6fd0", "c2": "#c4541a", "c3": "#1b7a43", "c4": "#8a3ab9",
    "c5": "#a1740b", "c6": "#0b7f8c", "c7": "#b3265e", "c8": "#5b6472",
    "other": "#b5bac2",
}  # fmt: skip
PALETTE = tuple(COLORS)[:8]
TRAIN, VALIDATION, OTHER = "c1", "c2", "other"

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """One line of a chart: (x, value) pairs in order.

    ``style`` is its color, a key of ``COLORS``; ``other`` is gray and not in the legend. ``on_top`` draws it last.
    """

    name: str
    style: str
    points: Sequence[Point]
    on_top: bool = False


@dataclass(frozen=True)
class Axis:
    """The horizontal axis: ``is_whole`` has ticks at whole numbers, ``is_log`` is logarithmic for positive values.

    ``form`` is ``dots`` on lines, ``dense`` for lines of many points (more than 30 have no dots, and are downsampled
    to 120 means), or ``apart`` for dots that no line joins.
    """

    name: str = "epoch"
    is_whole: bool = True
    is_log: bool = False
    form: str = "dots"


EPOCHS = Axis()
STEPS = Axis("step", form="dense")


@dataclass(frozen=True)
class Chart:
    """Series with a title and a unit; values that are not finite are left out.

    ``min_span`` is the smallest range of the vertical axis: smaller differences are noise.
    """

    title: str
    unit: str
    series: Sequence[Series]
    axis: Axis = EPOCHS
    min_span: float = 0.0

    @property
    def legend(self) -> list[Series]:
        """The series that the legend names, in their order."""
        return [one for one in self.series if one.style != OTHER and one.name != self.title]

    @cached_property
    def _points(self) -> list[Sequence[Point]]:
        kept = [[point for point in one.points if math.isfinite(point[1])] for one in self.series]
        return [downsample(points) for points in kept] if self.axis.form == "dense" else list(kept)

    @property
    def _form(self) -> str:
        is_sparse = max(map(len, self._points)) <= MAX_DOTS
        return "dots" if self.axis.form == "dense" and is_sparse else self.axis.form

    @property
    def is_empty(self) -> bool:
        """Whether no finite value is there."""
        return not any(self._points)

    def svg(self, *, standalone: bool = False) -> Markup:
        """Return the chart as an SVG element; ``standalone``, for a file, with title, unit, legend and namespace."""
        if self.is_empty:
            raise DataError("nothing to draw", found=f"no values for {self.title}")
        scale = _Scale(self)
        curves = []
        drawn = sorted(zip(self.series, self._points, strict=True), key=lambda pair: pair[0].on_top)
        for series, points in drawn:
            dots = [
                (scale.x(x), scale.y(value), f"{series.name}, {self.axis.name} {x:g}: {value:.4g}")
                for x, value in points
            ]
            curves.append((series.style, dots))
        svg = render(
            "chart.svg",
            chart=self,
            form=self._form,
            colors=COLORS,
            curves=curves,
            x_ticks=scale.x_ticks(),
            y_ticks=[(scale.y(tick), f"{tick:g}") for tick in scale.ticks],
            legend=self._legend_positions(),
            head=HEADING_HEIGHT if standalone else 0,
            **{"width": WIDTH, "height": HEIGHT},
            **{"left": LEFT, "right": WIDTH - RIGHT, "bottom": HEIGHT - BOTTOM},
        )
        return Markup(svg)

    def _legend_positions(self) -> list[tuple[float, Series]]:
        widths = [33 + CHARACTER_WIDTH * len(series.name) for series in self.legend]
        starts = itertools.accumulate(widths, initial=8.0)
        return [(round(x, 1), series) for x, series in zip(starts, self.legend, strict=False)]


class _Scale:
    """Maps values to coordinates, one decimal."""

    def __init__(self, chart: Chart) -> None:
        xs, values = zip(*(point for points in chart._points for point in points), strict=True)
        self.axis, self.first, self.last = chart.axis, min(xs), max(xs)
        self.ticks = nice_ticks(min(values), max(values), chart.min_span)

    def x(self, x: float) -> float:
        first, last, here = (math.log(v) if self.axis.is_log else v for v in (self.first, self.last, x))
        fraction = 0.5 if last == first else (here - first) / (last - first)
        return round(LEFT + fraction * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        return round(TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    def x_ticks(self) -> list[tuple[float, str, str]]:
        """Return (coordinate, text, anchor); a label that would be cut ends at the right edge."""
        ticks = []
        for tick in axis_ticks(self.axis, self.first, self.last):
            x, text = self.x(tick), f"{tick:,.0f}" if self.axis.is_whole else f"{tick:g}"
            crosses = x + CHARACTER_WIDTH * len(text) / 2 > WIDTH
            ticks.append((WIDTH - 2.0, text, "end") if crosses else (x, text, "middle"))
        return ticks


def downsample(points: Sequence[Point]) -> list[Point]:
    """Return at most 120 points: means of neighbors, each at the place of the last of them."""
    size = math.ceil(len(points) / MAX_POINTS) or 1
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def nice_ticks(low: float, high: float, min_span: float = 0.0) -> list[float]:
    """Return about five round numbers that enclose a range: multiples of 1, 2 or 5 times a power of ten."""
    if high - low < max(min_span, 1e-9 * max(1e-3, abs(high))):
        pad = (min_span - (high - low)) / 2 if min_span else 0.1 * abs(high) or 0.5
        # Values that are not negative have no negative ticks.
        shift = max(0.0, pad - low) if low >= 0 else 0.0
        low, high = low - pad + shift, high + pad + shift
    step = _round_step((high - low) / 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return _multiples(step, first, last)


def axis_ticks(axis: Axis, first: float, last: float) -> list[float]:
    """Return at most six round numbers inside a range, for the horizontal axis."""
    if axis.is_log:
        return _log_ticks(first, last)
    if last - first <= 1e-9 * abs(last):
        return [first]
    rough = (last - first) / (MAX_TICKS - 1)
    step = _round_step(max(1.0, rough) if axis.is_whole else rough)
    ticks = _multiples(step, math.floor(first / step), math.ceil(last / step))
    return [tick for tick in ticks if first <= tick <= last] or [first]


def _multiples(step: float, first: int, last: int) -> list[float]:
    digits = max(0, 10 - math.floor(math.log10(step)))
    return [round(number * step, digits) for number in range(first, last + 1)]


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * 0.999)


def _log_ticks(first: float, last: float) -> list[float]:
    powers = range(math.floor(math.log10(first)), math.ceil(math.log10(last)) + 1)
    for factors in ((1, 2, 5), (1,)):
        ticks = [float(f"{factor}e{power}") for power in powers for factor in factors]
        inside = [tick for tick in ticks if first * 0.999 <= tick <= last * 1.001]
        if len(inside) <= MAX_TICKS:
            return inside or [first]
    return inside[:: math.ceil(len(inside) / MAX_TICKS)]
