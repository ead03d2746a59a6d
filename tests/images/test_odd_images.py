"""Thousands of mutated and of odd but valid images: no crash, none skipped, bounded memory, right pixels."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.images.odd_images import check

ROOT = Path(__file__).parents[2]
WORKERS = 8


def run(kind: str, start: int, stop: int) -> tuple[dict[int, str], int]:
    """Return outcomes by number and the peak of memory in bytes, of images checked in one process."""
    command = [sys.executable, "-m", "tests.images.odd_images", kind, str(start), str(stop)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    *lines, last = [json.loads(line) for line in done.stdout.splitlines()] or [["nothing", 0]]
    assert done.returncode == 0, f"after {last} of {kind}: {done.returncode}\n{done.stderr[-2000:]}"
    assert last[0] == "peak"
    return dict(lines), last[1]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "count"), [("mutated", 3360), ("mutated modern", 1600), ("odd", 2000)])
def test_every_image_gives_pixels_or_an_error_of_its_own(kind: str, count: int) -> None:
    bounds = [count * part // WORKERS for part in range(WORKERS + 1)]
    with ThreadPoolExecutor(2) as pool:
        parts = list(pool.map(lambda part: run(kind, bounds[part], bounds[part + 1]), range(WORKERS)))
    outcomes = {number: text for part, _ in parts for number, text in part.items()}
    counts = {text: list(outcomes.values()).count(text) for text in ("pixels", "error")}
    print(f"{kind}: {counts}, at most {max(peak for _, peak in parts) / 1e6:.0f} MB")
    assert {number: text for number, text in outcomes.items() if text.startswith("wrong")} == {}
    assert len(outcomes) == sum(counts.values()) == count
    assert max(peak for _, peak in parts) <= 800e6


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [("mutated", range(0, 3000, 100)), ("mutated modern", range(0, 3000, 97)), ("odd", range(44))],
)
def test_some_of_them(kind: str, numbers: range, tmp_path: Path) -> None:
    outcomes = {number: check(kind, number, tmp_path) for number in numbers}
    assert {number: text for number, text in outcomes.items() if text.startswith("wrong")} == {}
