"""Everything that can be wrong with a captioned set, and its report: counts and first examples."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from showtell.data.sources.base import Problem
from showtell.system.reading import read_json_lines

KINDS: dict[str, str] = {
    "missing-image": "images that do not exist",
    "undecodable-image": "images that cannot be decoded",
    "duplicate-image": "images with the same bytes as an earlier one",
    "no-captions": "images without captions",
    "captions-without-image": "captions without an image",
    "shared-captions": "text files of several images (give each image its own)",
    "empty-caption": "empty captions",
    "duplicate-caption": "captions that an image has twice (kept)",
    "listed-twice": "images listed twice in a split list (read once)",
    "two-splits": "images in two splits (kept in test, else in dev)",
    "unknown-split": "entries with an unknown split (--make-split all makes another one)",
    "unreadable-line": "entries that cannot be read",
    "not-edited": "captions of a machine that nobody edited, in a file of corrections",
    "not-unicode": "names or captions that are not valid Unicode",
}

HARMLESS = frozenset({"duplicate-caption", "listed-twice", "not-edited"})
"""Kinds that lose no example of the set: reported, but not counted against the limit."""


def printable(problem: Problem) -> Problem:
    """Return the problem with invalid Unicode (from file names or JSON) escaped."""
    key, detail = (text.encode(errors="backslashreplace").decode() for text in (problem.key, problem.detail))
    return Problem(problem.kind, key, detail)


def by_kind(problems: Iterable[Problem]) -> dict[str, list[Problem]]:
    """Group problems, in the order of `KINDS`."""
    groups: dict[str, list[Problem]] = {kind: [] for kind in KINDS}
    for problem in problems:
        groups[problem.kind].append(problem)
    return {kind: group for kind, group in groups.items() if group}


def report(problems: Sequence[Problem], *, examples: int) -> list[str]:
    """Return a line with the count of each kind, and up to ``examples`` lines of examples below it."""
    lines = []
    for kind, group in by_kind(problems).items():
        lines.append(f"{len(group):>9,}  {kind}: {KINDS[kind]}")
        lines += [f"{'':11}{problem.key}: {problem.detail}" for problem in group[:examples]]
        if len(group) > examples:
            lines.append(f"{'':11}... and {len(group) - examples:,} more")
    return lines


def read_problems(file: Path) -> list[Problem]:
    """Read the ``problems.jsonl`` of a prepared set."""
    return [Problem(**line) for line in read_json_lines(file)]
