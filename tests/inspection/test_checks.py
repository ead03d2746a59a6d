"""All checks run one after the other; one that cannot be made is named and stops no other."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from showtell.data.prepared import PreparedSet
from showtell.errors import ConfigError
from showtell.inspection.checks import count_over_limits, inspect_set
from showtell.inspection.findings import KINDS

LONG = "A brown dog runs through the tall grass near a fence ."
CaptionSet = Callable[..., PreparedSet]


@pytest.fixture
def faulty(caption_set: CaptionSet) -> Path:
    """A leaked caption, two boilerplate captions of different strength, and a repeated caption for prepare."""
    return caption_set(
        train=[[LONG], ["A long line ends with www.example.org"], ["n/a"], ["A cat .", "A cat ."]],
        dev=[[LONG]],
    ).directory


@pytest.mark.thorough
def test_findings_are_worst_first_and_kinds_without_findings_are_there(faulty: Path) -> None:
    inspection = inspect_set(faulty)
    assert inspection.findings["boilerplate"][0].caption == "n/a"
    assert len(inspection.findings["leaked-caption"]) == 1
    assert inspection.findings["language"] == []
    assert inspection.problem_counts == {"duplicate-caption": 1}
    skipped = {kind for check in inspection.checks if check.skipped for kind in check.kinds}
    assert skipped == {"leaked-scene", "same-scene", "mismatched-image", "mismatch"}
    assert set(inspection.findings) | skipped == set(KINDS)


def test_without_an_extra_its_checks_alone_are_skipped(faulty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagehash", None)
    inspection = inspect_set(faulty)
    [check] = [check for check in inspection.checks if "near-duplicate" in check.kinds]
    assert "pip install -e '.[inspect]'" in check.skipped
    assert "near-duplicate" not in inspection.findings
    assert len(inspection.findings["boilerplate"]) == 2
    with pytest.raises(ConfigError, match=r"near-duplicate: not checked.*\[inspect\]"):
        count_over_limits(inspection, ["near-duplicate"])


@pytest.mark.thorough
def test_ignored_kinds_are_left_out(faulty: Path) -> None:
    inspection = inspect_set(faulty, ignore=["boilerplate", "duplicate-caption", "leaked-image"])
    assert "boilerplate" not in inspection.findings
    assert "leaked-image" not in inspection.findings
    assert "near-duplicate" in inspection.findings
    assert not inspection.problems


@pytest.mark.thorough
def test_limits_count_findings_and_problems(faulty: Path) -> None:
    inspection = inspect_set(faulty)
    assert count_over_limits(inspection, ["boilerplate=2", "language", "undecodable-image"]) == []
    assert count_over_limits(inspection, ["boilerplate=1", "duplicate-caption"]) == [
        "boilerplate: 2 findings, at most 1 allowed",
        "duplicate-caption: 1 findings, at most 0 allowed",
    ]


@pytest.mark.parametrize("limit", ["boilerplat", "boilerplate=many", "boilerplate=-1", ""])
def test_a_limit_that_means_nothing_is_refused(faulty: Path, limit: str) -> None:
    with pytest.raises(ConfigError, match="--fail-on"):
        count_over_limits(
            inspect_set(faulty, ignore=[kind for kind in KINDS if kind != "boilerplate"]), [limit]
        )


@pytest.mark.thorough
def test_ten_thousand_images_take_seconds(caption_set: CaptionSet, monkeypatch: pytest.MonkeyPatch) -> None:
    small = caption_set(train=[["A first caption ."]], dev=[["A second caption ."]])
    count = 10_000
    captions = [
        [f"A caption about thing {row % 5_000} , seen by observer number {row} ."] for row in range(count)
    ]
    captions[7] = ["Image not available"]
    monkeypatch.setattr(PreparedSet, "__len__", lambda self: count)
    monkeypatch.setattr(PreparedSet, "iterate_captions", lambda self: iter(captions))
    monkeypatch.setattr(PreparedSet, "captions", lambda self, row: captions[row])
    monkeypatch.setattr(PreparedSet, "split", lambda self, row: "train" if row % 10 else "dev")
    rows = {
        split: [row for row in range(count) if (row % 10 > 0) == (split == "train")]
        for split in ("train", "dev")
    }
    monkeypatch.setattr(
        "showtell.inspection.captions.rows_by_split", lambda prepared: [rows["dev"], rows["train"]]
    )
    started = time.process_time()
    image_kinds = ["leaked-image", "near-duplicate", "unreadable-image", "language"]
    inspection = inspect_set(small.directory, ignore=image_kinds)
    assert [one.row for one in inspection.findings["boilerplate"]] == [7]
    assert time.process_time() - started < 10
