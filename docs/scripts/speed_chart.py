"""Draw docs/images/speed-*.svg from a benchmark run.

python docs/scripts/speed_chart.py [benchmarks/results/FILE.json]
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import svg

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "20261128-003835-d78a7c5348.json"
# Group, baseline as a row of the run names it, how our bars of the group are called: (name, end of the row's work).
CAPTIONING, SCORING = "caption JPEGs", "BLEU, ROUGE-L, CIDEr-D of 5,000"
GROUPS = (
    ("Captioning, against BLIP-base", CAPTIONING, "BLIP-base", (("torch", "torch"), ("ONNX, INT8", "INT8"))),
    ("Captioning, against ViT-GPT2", CAPTIONING, "ViT-GPT2", (("torch", "torch"), ("ONNX, INT8", "INT8"))),
    ("Scoring, against pycocoevalcap (Java)", SCORING, "pycocoevalcap", (("BLEU, ROUGE-L, CIDEr-D", ""),)),
)
TITLE = "Speed-up over other tools on a 2-core CPU"


def bars(run: dict[str, Any]) -> list[tuple[str, list[tuple[str, float, str]]]]:
    """Return for each group its bars: name, speed-up, and the rates that it is the ratio of."""
    groups = []
    for title, work, against, kinds in GROUPS:
        found = []
        for name, end in kinds:
            row = next(
                row
                for row in run["rows"]
                if row["work"].startswith(work) and row["work"].endswith(end) and against in row["against"]
            )
            found.append((name, row["figure"], _rates(row, end, against)))
        groups.append((title, found))
    return groups


def _rates(row: dict[str, Any], kind: str, against: str) -> str:
    seconds = row["details"]["seconds"]
    ours, theirs = median(seconds[kind or "ours"]), median(seconds[against])
    count = row["details"].get("count")
    if count is None:
        return f"{ours:.2f} s against {theirs:.2f} s for 5,000 images"
    return f"{count / ours:.1f} against {count / theirs:.2f} images/s"


def draw(run: dict[str, Any], colors: svg.Colors) -> str:
    """Return the chart as SVG."""
    groups = bars(run)
    left, right, y = 176, 640, 62
    largest = max(speed for _, found in groups for _, speed, _ in found)
    scale = (right - left) / (10 * -(-largest // 10))
    machine = run["machine"]
    vectors = "AVX2" if machine["flags"] == ["avx2"] else ", ".join(machine["flags"])
    parts = [
        svg.text(12, 26, TITLE, colors["text"], size=17, weight=600),
        svg.text(
            12,
            46,
            f"{machine['processor']}, {machine['cores']} cores, {vectors}, float32 (INT8 as marked), "
            f"{run['date'][:10]}; 640×480 JPEGs, beam 3, 20 words",
            colors["muted"],
            size=12,
        ),
    ]
    top = y
    for title, found in groups:
        y += 22
        parts.append(svg.text(12, y, title, colors["text"], weight=600))
        y += 8
        for name, speed, rates in found:
            color = colors["teal"] if "INT8" in name else colors["blue"]
            parts += [
                svg.text(left - 8, y + 16, name, colors["text"], size=12.5, anchor="end"),
                svg.box(left, y + 2, speed * scale, 20, color),
                svg.text(
                    left + speed * scale + 8, y + 17, f"{speed:.{speed < 20:d}f}×", colors["text"], weight=600
                ),
                svg.text(left + speed * scale + 64, y + 17, rates, colors["muted"], size=12.5),
            ]
            y += 26
        y += 2
    axis = [
        f'<line x1="{left + mark * scale:g}" y1="{top}" x2="{left + mark * scale:g}" y2="{y + 6}" '
        f'stroke="{colors["grid"]}" stroke-width="1"/>'
        + svg.text(left + mark * scale, y + 22, f"{mark}×", colors["muted"], size=12, anchor="middle")
        for mark in range(0, int(10 * -(-largest // 10)) + 1, 10)
    ]
    parts.append(
        svg.text(
            (left + right) / 2,
            y + 42,
            "times as fast as the baseline (higher is better)",
            colors["muted"],
            size=12,
            anchor="middle",
        )
    )
    # The grid is drawn below the bars and their labels.
    parts[2:2] = axis
    return svg.document(880, y + 54, TITLE, "; ".join(_sentence(group) for group in groups), colors, parts)


def _sentence(group: tuple[str, list[tuple[str, float, str]]]) -> str:
    return (
        group[0] + ": " + ", ".join(f"{name} {speed:.1f} times ({rates})" for name, speed, rates in group[1])
    )


def files(results: Path = RESULTS) -> dict[Path, str]:
    """Return the text of both charts, by path."""
    return svg.outputs("speed", partial(draw, json.loads(results.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    svg.write(files(*map(Path, sys.argv[1:])))
