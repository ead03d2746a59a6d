"""The kinds of findings, and a finding: an image, or a caption of it, and what is wrong."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from showtell.data.prepared import PreparedSet
from showtell.data.sources.base import Problem

EVALUATED_FIRST = ("test", "dev", "train")
"""Splits in the order in which an image of the later one is at fault: scores of the earlier ones compare."""


@dataclass(frozen=True)
class Kind:
    """A kind of findings: its description, and what ``--fix`` leaves out of the training split."""

    text: str
    leaves_out: Literal["image", "caption", "nothing"]


KINDS = {
    "leaked-image": Kind("images nearly the same as one of an evaluated split", "image"),
    "near-duplicate": Kind("images nearly the same as an earlier one of their split", "image"),
    "leaked-scene": Kind("images of the same scene as one of an evaluated split", "image"),
    "same-scene": Kind("images of the same scene as an earlier one of their split", "nothing"),
    "unreadable-image": Kind("images that can no longer be read", "image"),
    "leaked-caption": Kind("captions that an image of an evaluated split has too", "caption"),
    "repeated-caption": Kind("captions that many images have", "caption"),
    "boilerplate": Kind("captions that describe no image", "caption"),
    "phrase": Kind("beginnings and ends that many captions have", "nothing"),
    "language": Kind("captions in another language than most", "caption"),
    "mismatched-image": Kind("images that their captions together do not fit", "image"),
    "mismatch": Kind("captions that do not fit their image", "nothing"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """An image or a caption that is suspicious; of each kind, the one with the largest ``value`` is the worst."""

    kind: str  # a key of `KINDS`
    row: int  # of the prepared set
    reason: str
    value: float
    caption: str = ""  # empty: the image is meant
    other: int = -1  # the row of the image that it is compared with


@dataclass
class Check:
    """One check: the kinds that it finds, how it was made, and why it was not made (empty if it was)."""

    kinds: tuple[str, ...]
    how: str
    skipped: str = ""


@dataclass
class Inspection:
    """The findings of all checks of a prepared set, worst first, and the problems that ``prepare`` had found."""

    prepared: PreparedSet
    problems: list[Problem]
    checks: list[Check] = field(default_factory=list)
    findings: dict[str, list[Finding]] = field(default_factory=dict)  # by kind; only kinds that were checked

    @property
    def problem_counts(self) -> dict[str, int]:
        """Number of problems of each kind that ``prepare`` found."""
        return dict(Counter(problem.kind for problem in self.problems))

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield all findings as JSON values."""
        for finding in (one for group in self.findings.values() for one in group):
            other = finding.other >= 0
            yield {
                "kind": finding.kind,
                "image": self.prepared.key(finding.row),
                "split": self.prepared.split(finding.row),
                "file": str(self.prepared.image_path(finding.row)),
                "caption": finding.caption or None,
                "other": self.prepared.key(finding.other) if other else None,
                "other_split": self.prepared.split(finding.other) if other else None,
                "reason": finding.reason,
                "value": round(finding.value, 4),
            }
        for problem in self.problems:
            yield {"kind": problem.kind, "image": problem.key, "reason": problem.detail}


def rows_by_split(prepared: PreparedSet) -> list[list[int]]:
    """Return the rows of each split that the set has, the evaluated ones first."""
    return [
        prepared.split_rows(split).tolist()
        for split in EVALUATED_FIRST
        if split in prepared.manifest["splits"]
    ]
