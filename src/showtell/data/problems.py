"""All that can be wrong with a captioned set, and the one report that tells it: counts and first examples."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from showtell.data.sources.base import Problem

KINDS: dict[str, str] = {
    "missing-picture": "pictures that are not there",
    "undecodable-picture": "pictures that cannot be read",
    "duplicate-picture": "pictures with the bytes of an earlier one",
    "no-captions": "pictures without captions",
    "captions-without-picture": "captions without a picture",
    "empty-caption": "captions with no text",
    "duplicate-caption": "captions that a picture has twice (kept)",
    "listed-twice": "pictures that stand twice in a split list (read once)",
    "two-splits": "pictures in two splits (kept in test, else in dev)",
    "unknown-split": "entries of an unknown split",
    "unreadable-line": "entries that cannot be read",
    "not-unicode": "names or captions that are not valid Unicode",
}

HARMLESS = frozenset({"duplicate-caption", "listed-twice"})
"""Kinds that cost nothing of a set: told, but not counted against it."""


def printable(problem: Problem) -> Problem:
    """Return the problem with what is not valid Unicode (file names, JSON) escaped."""
    key, detail = (text.encode(errors="backslashreplace").decode() for text in (problem.key, problem.detail))
    return Problem(problem.kind, key, detail)


def by_kind(problems: Iterable[Problem]) -> dict[str, list[Problem]]:
    """Group problems, in the order of `KINDS`."""
    groups: dict[str, list[Problem]] = {kind: [] for kind in KINDS}
    for problem in problems:
        groups[problem.kind].append(problem)
    return {kind: group for kind, group in groups.items() if group}


def report(problems: Sequence[Problem], *, examples: int) -> list[str]:
    """Return a line for each kind, with its count, and up to ``examples`` lines of examples under it."""
    lines = []
    for kind, group in by_kind(problems).items():
        lines.append(f"{len(group):>9,}  {kind}: {KINDS[kind]}")
        lines += [f"{'':11}{problem.key}: {problem.detail}" for problem in group[:examples]]
        if len(group) > examples:
            lines.append(f"{'':11}... and {len(group) - examples:,} more")
    return lines


def read_problems(file: Path) -> list[Problem]:
    """Read the ``problems.jsonl`` of a prepared set."""
    return [Problem(**json.loads(line)) for line in file.read_text(encoding="utf-8").split("\n") if line]


MADE = {
    "none": "The source has no split; it was made by picture",
    "all": "The source's own split was left aside; it was made by picture",
    "train": "Shares were cut off the source's own training split by picture",
}


def describe(directory: Path, manifest: dict[str, Any]) -> list[str]:
    """Return what a prepared set holds, as lines: counts per split, lengths of captions, problems, notes."""
    lines = [f"{'split':<6}{'pictures':>10}{'captions':>10}{'words (median)':>16}{'words (95 %)':>14}"]
    for split, count in manifest["splits"].items():
        lines.append(
            f"{split:<6}{count['pictures']:>10,}{count['captions']:>10,}"
            f"{count['caption_len_median']:>16g}{count['caption_len_p95']:>14g}"
        )
    made = manifest["generated_split"]
    if made:
        lines.append(f"{MADE[made.get('make_split', 'none')]} ({_listed(made)}).")
    lines += [note + "." for note in manifest["notes"]]
    if manifest["problems"]:
        problems = read_problems(directory / "problems.jsonl")
        lines += ["Problems, all in problems.jsonl; what is bad was left out:", *report(problems, examples=1)]
    return [
        *lines,
        f"{directory}: {manifest['source']['format']}, fingerprint {manifest['fingerprint'][:12]}",
    ]


def _listed(options: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items())
