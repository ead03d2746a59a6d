"""The speed of this build against another commit's: both run their own benchmarks, in turns.

Each build measures with the benchmarks of its own commit, since names and file formats change. A row is there for
each work of this build that the other one measures under the same names, whatever else the words around them are.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT, Row
from benchmarks.results import read_results

TARGETS = {"caption": 1.35, "int8": 1.6, "training": 1.6}
"""Times as fast as the other build, by group; 1 for the rest: no slower."""


def compare_builds(commit: str, group: str, options: Sequence[str], rounds: int) -> Iterator[Row]:
    """Yield how many times as fast this build is, the median of the rounds; the order changes every second round.

    Args:
        commit: Any name of a commit of this repository.
        group: One of the groups of `python -m benchmarks`.
        options: Further options of both runs.
        rounds: Runs of each build.

    Raises:
        RuntimeError: there is no such commit, or a run failed; the message has the end of its output.
    """
    with (
        tempfile.TemporaryDirectory(prefix="showtell-against-") as folder,
        _checkout(commit, folder) as other,
    ):
        runs: dict[Path, list[dict[str, dict[str, Any]]]] = {ROOT: [], other: []}
        for turn in range(rounds):
            for root in (ROOT, other) if turn % 2 == 0 else (other, ROOT):
                runs[root].append(_works(_run(root, group, options, Path(folder))))
    for key, ours in runs[ROOT][0].items():
        if all(key in run for run in runs[other]):
            pairs = zip(runs[ROOT], runs[other], strict=True)
            ratios = [theirs[key]["seconds"] / mine[key]["seconds"] for mine, theirs in pairs]
            seconds = [[run[key]["seconds"] for run in runs[root]] for root in (ROOT, other)]
            mine, its = map(statistics.median, seconds)
            yield Row(
                ours["work"],
                f"the same at {commit}",
                statistics.median(ratios),
                TARGETS.get(group, 1.0),
                measured=f"{mine:.3f} s against {its:.3f} s",
                details={
                    "ratios": ratios,
                    "seconds": dict(zip(("this build", commit), seconds, strict=True)),
                },
            )


@contextlib.contextmanager
def _checkout(commit: str, folder: str) -> Iterator[Path]:
    place = Path(folder) / "build"
    _call(["git", "worktree", "add", "--detach", str(place), commit], ROOT)
    try:
        yield place
    finally:
        _call(["git", "worktree", "remove", "--force", str(place)], ROOT)


def _run(root: Path, group: str, options: Sequence[str], folder: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=folder) as results:
        _call([sys.executable, "-m", "benchmarks", "--only", group, "--results", results, *options], root)
        (path,) = Path(results).iterdir()
        return read_results(path)


def _call(command: Sequence[str], root: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-2000:]}")


def _works(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the median seconds of each work by its names in the table, without what rows of one work differ in."""
    works: dict[str, dict[str, Any]] = {}
    for row in results["rows"]:
        seconds = row["details"].get("seconds")
        if seconds:
            name, rounds = next(iter(seconds.items()))
            # Earlier tables say pictures where later ones say images.
            key = f"{row['details'].get('count')} | {row['work'].replace('picture', 'image')} | {name}"
            works.setdefault(key, {"work": row["work"], "seconds": statistics.median(rounds)})
    return works
