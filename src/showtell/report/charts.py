"""Line charts as inline SVG: few lines, one scale. Colours come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 14, 34
MOST_TICKS = 6
MOST_POINTS = 120
PALETTE = tuple(f"c{number}" for number in range(1, 9))


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        name: Shown in the legend and beside values.
        style: CSS class that colours it (``train``, ``dev``, ``c1`` to ``c8``, ``other``).
        points: (place, value) pairs, in order.
    """

    name: str
    style: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Axis:
    """What runs from left to right.

    Attributes:
        name: Shown under the axis and beside values.
        is_whole: Whole numbers alone have ticks.
        is_log: Even over the logarithm; all places are positive.
        form: ``dots`` on lines, ``dense`` for lines whose dots would touch (thinned to 120 means), ``apart`` for
            dots that no line joins.
    """

    name: str = "epoch"
    is_whole: bool = True
    is_log: bool = False
    form: str = "dots"


EPOCHS = Axis()
STEPS = Axis("step", form="dense")


def line_chart(title: str, lines: Sequence[Series], axis: Axis = EPOCHS) -> str:
    """Return a chart as an SVG element; every point tells its value on hover.

    Args:
        title: What is shown, for screen readers.
        lines: At least one point altogether; values that are not finite are left out.
        axis: What runs from left to right.
    """
    kept = [
        replace(line, points=[point for point in line.points if math.isfinite(point[1])]) for line in lines
    ]
    if axis.form == "dense":
        kept = [replace(line, points=downsample(line.points)) for line in kept]
    values = [value for line in kept for _, value in line.points]
    if not values:
        return '<p class="none">Nothing measured yet.</p>'
    places = [place for line in kept for place, _ in line.points]
    scale = _Scale(axis, min(places), max(places), nice_ticks(min(values), max(values)))
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        *scale.draw(),
        f'<g class="{axis.form}">',
        *(part for line in kept for part in _draw_line(line, axis, scale)),
        "</g></svg>",
    ]
    return "".join(parts)


def legend(lines: Sequence[Series]) -> str:
    """Return the names of lines beside their colours, as HTML."""
    return "".join(f'<span class="key {line.style}">{escape(line.name)}</span>' for line in lines)


def figure(name: str, unit: str, lines: Sequence[Series], axis: Axis = EPOCHS) -> str:
    """Return a chart with its name, unit and legend, as an HTML figure."""
    shown = [line for line in lines if line.style != "other" and line.name != name]
    return (
        f'<figure><figcaption><b>{escape(name)}</b> <span class="unit">{escape(unit)}</span>{legend(shown)}'
        f"</figcaption>{line_chart(f'{name} by {axis.name}', lines, axis)}</figure>"
    )


@dataclass(frozen=True)
class _Scale:
    """Where values stand in the picture."""

    axis: Axis
    first: float
    last: float
    ticks: Sequence[float]

    def place(self, x: float, y: float) -> tuple[float, float]:
        low, high = self.ticks[0], self.ticks[-1]
        first, last, here = (math.log(v) if self.axis.is_log else v for v in (self.first, self.last, x))
        share = 0.5 if last == first else (here - first) / (last - first)
        across = LEFT + share * (WIDTH - LEFT - RIGHT)
        return round(across, 1), round(TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    def draw(self) -> list[str]:
        parts = []
        for tick in self.ticks:
            y = self.place(self.first, tick)[1]
            parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
            parts.append(f'<text class="tick" x="{LEFT - 7}" y="{y + 4}" text-anchor="end">{tick:g}</text>')
        for tick in place_ticks(self.axis, self.first, self.last):
            x = self.place(tick, self.ticks[0])[0]
            text = f"{tick:,.0f}" if self.axis.is_whole else f"{tick:g}"
            parts.append(
                f'<text class="tick" x="{x}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{text}</text>'
            )
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(
            f'<text class="tick" x="{middle}" y="{HEIGHT - 3}" text-anchor="middle">{escape(self.axis.name)}</text>'
        )
        return parts


def _draw_line(line: Series, axis: Axis, scale: _Scale) -> list[str]:
    places = [scale.place(*point) for point in line.points]
    path = " ".join(f"{x},{y}" for x, y in places)
    radius = "4" if axis.form == "apart" else "3.2"
    return [
        f'<polyline class="{line.style}" points="{path}"/>',
        *(
            f'<circle class="{line.style}" cx="{x}" cy="{y}" r="{radius}">'
            f"<title>{escape(line.name)}, {escape(axis.name)} {place:g}: {value:.4g}</title></circle>"
            for (x, y), (place, value) in zip(places, line.points, strict=True)
        ),
    ]


def downsample(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return at most 120 points: means of neighbours, each at the place of the last of them."""
    size = math.ceil(len(points) / MOST_POINTS) or 1
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def nice_ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers that enclose a range: multiples of 1, 2 or 5 times a power of ten."""
    if high - low < 1e-9 * max(1e-3, abs(high)):
        spread = 0.1 * abs(high) or 0.5
        low, high = low - spread, high + spread
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, 10 - math.floor(math.log10(step)))
    return [round(number * step, digits) for number in range(first, last + 1)]


def place_ticks(axis: Axis, first: float, last: float) -> list[float]:
    """Return at most six round places between two, for the axis from left to right."""
    if axis.is_log:
        return _log_ticks(first, last)
    if axis.is_whole and last - first < 2 * MOST_TICKS * MOST_TICKS:
        return [float(tick) for tick in epoch_ticks(first, last)]
    inside = [tick for tick in nice_ticks(first, last) if first <= tick <= last] or [first]
    return inside[:: math.ceil(len(inside) / MOST_TICKS)]


def epoch_ticks(first: float, last: float) -> list[int]:
    """Return at most six whole epochs, evenly spaced, the first among them."""
    start, end = math.ceil(first), math.floor(last)
    step = max(1, math.ceil((end - start + 1) / MOST_TICKS))
    return list(range(start, end + 1, step))


def _log_ticks(first: float, last: float) -> list[float]:
    powers = range(math.floor(math.log10(first)), math.ceil(math.log10(last)) + 1)
    for factors in ((1, 2, 5), (1,)):
        ticks = [float(f"{factor}e{power}") for power in powers for factor in factors]
        inside = [tick for tick in ticks if first * 0.999 <= tick <= last * 1.001]
        if len(inside) <= MOST_TICKS:
            return inside or [first]
    return inside[:: math.ceil(len(inside) / MOST_TICKS)]
