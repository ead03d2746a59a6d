"""Line charts as inline SVG: few lines, few points, one scale. Colours come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 44, 14, 14, 34
MOST_TICKS = 6


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: Shown in the legend and beside values.
        style: CSS class that colours it (``train`` or ``dev``).
        points: (epoch, value) pairs, in order.
    """

    name: str
    style: str
    points: Sequence[tuple[float, float]]


def line_chart(title: str, lines: Sequence[Line]) -> str:
    """Return a chart over epochs as an SVG element; every point tells its value on hover.

    Args:
        title: What is shown, for screen readers; must be safe HTML (ours, not a user's).
        lines: At least one point altogether; values that are not finite are left out.
    """
    kept = [
        Line(line.name, line.style, [point for point in line.points if math.isfinite(point[1])])
        for line in lines
    ]
    values = [value for line in kept for _, value in line.points]
    epochs = [epoch for line in kept for epoch, _ in line.points]
    if not values:
        return '<p class="none">Nothing measured yet.</p>'
    ticks = nice_ticks(min(values), max(values))
    low, high = min(ticks[0], *values), max(ticks[-1], *values)
    first, last = min(epochs), max(epochs)

    def place(epoch: float, value: float) -> tuple[float, float]:
        share = 0.5 if last == first else (epoch - first) / (last - first)
        x = LEFT + share * (WIDTH - LEFT - RIGHT)
        y = TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)
        return round(x, 1), round(y, 1)

    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">']
    for tick in ticks:
        y = place(first, tick)[1]
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 7}" y="{y + 4}" text-anchor="end">{tick:g}</text>')
    for whole in epoch_ticks(first, last):
        x = place(whole, low)[0]
        parts.append(
            f'<text class="tick" x="{x}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{whole}</text>'
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="tick" x="{middle}" y="{HEIGHT - 3}" text-anchor="middle">epoch</text>')
    for line in kept:
        places = [place(epoch, value) for epoch, value in line.points]
        path = " ".join(f"{x},{y}" for x, y in places)
        parts.append(f'<polyline class="{line.style}" points="{path}"/>')
        for (x, y), (epoch, value) in zip(places, line.points, strict=True):
            parts.append(
                f'<circle class="{line.style}" cx="{x}" cy="{y}" r="3.2">'
                f"<title>{line.name}, epoch {epoch:g}: {value:.4g}</title></circle>"
            )
    return "".join(parts) + "</svg>"


def nice_ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers that enclose a range: multiples of 1, 2 or 5 times a power of ten."""
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - max(0.5, abs(low) * 0.1), high + max(0.5, abs(high) * 0.1)
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def epoch_ticks(first: float, last: float) -> list[int]:
    """Return at most six whole epochs, evenly spaced, the first among them."""
    start, end = math.ceil(first), math.floor(last)
    step = max(1, math.ceil((end - start + 1) / MOST_TICKS))
    return list(range(start, end + 1, step))
