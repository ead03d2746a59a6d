"""The text and the page show the worst findings, as many as they are to, with everything escaped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from showtell.data.prepared import PreparedSet
from showtell.inspection.checks import inspect_set
from showtell.inspection.findings import Inspection
from showtell.inspection.page import to_text, write_page

LONG = "A brown <b>dog</b> runs through the tall grass near a fence ."
SLOW = ["leaked-image", "near-duplicate", "unreadable-image", "language"]


@pytest.fixture
def inspection(caption_set: Callable[..., PreparedSet]) -> Inspection:
    train = [[LONG], *([f"See www.example.org/{number} for more of the same things"] for number in range(6))]
    return inspect_set(caption_set(train=train, dev=[[LONG]]).directory, ignore=SLOW)


def test_the_page_shows_the_worst_and_says_how_many_there_are(inspection: Inspection, tmp_path: Path) -> None:
    write_page(inspection, tmp_path / "page.html", num_images=4)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "4 of 6, the worst first." in page
    assert page.count("<img ") == 2 + 4
    assert "<b>dog" not in page
    assert "&lt;b&gt;dog" in page
    assert "not checked: needs --captioner" in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    write_page(inspection, tmp_path / "empty.html", num_images=0)
    assert "<img " not in (tmp_path / "empty.html").read_text(encoding="utf-8")


def test_an_image_that_is_gone_is_said_on_the_page(inspection: Inspection, tmp_path: Path) -> None:
    inspection.prepared.image_path(0).unlink()
    write_page(inspection, tmp_path / "page.html", num_images=4)
    assert "The image could not be read." in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_text_fits_the_width_and_counts_the_rest(inspection: Inspection) -> None:
    lines = to_text(inspection, width=90)
    found = lines.index("        6  boilerplate: captions that describe no image")
    assert lines[found + 4] == "           ... and 3 more"
    assert all(len(line) <= 90 for line in lines[found + 1 : found + 4])
    [leaked] = [line for line in lines if "also in dev: 7.png" in line]
    assert leaked.startswith("           0.png: 'A brown <b>dog")


def test_records_name_image_caption_kind_reason_and_value(inspection: Inspection) -> None:
    first = next(inspection.records())
    assert first == {
        "kind": "leaked-caption",
        "image": "0.png",
        "split": "train",
        "file": str(inspection.prepared.image_path(0)),
        "caption": LONG,
        "other": "7.png",
        "other_split": "dev",
        "reason": "13 words, also in dev",
        "value": 13,
    }
