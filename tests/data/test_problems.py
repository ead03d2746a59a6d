"""The report of a set's problems: counts and first examples."""

from __future__ import annotations

from pathlib import Path

import pytest

from showtell.data.problems import by_kind, describe, printable, report
from showtell.data.sources.base import Problem


def test_the_report_counts_every_kind_and_shows_the_first_examples() -> None:
    problems = [Problem("no-captions", f"{n}.jpg", "left out") for n in range(1_200)]
    problems.append(Problem("missing-image", "m.jpg", "no there/m.jpg"))
    assert report(problems, examples=2) == [
        "        1  missing-image: images that do not exist",
        "           m.jpg: no there/m.jpg",
        "    1,200  no-captions: images without captions",
        "           0.jpg: left out",
        "           1.jpg: left out",
        "           ... and 1,198 more",
    ]


def test_a_kind_that_is_not_declared_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError, match="surprise"):
        by_kind([Problem("surprise", "a", "b")])


def test_problems_can_be_written_whatever_the_file_name() -> None:
    assert printable(Problem("not-unicode", "b\udcff", "\ud800é")) == Problem(
        "not-unicode", "b\\udcff", "\\ud800é"
    )


def test_the_description_has_splits_notes_and_problems(tmp_path: Path) -> None:
    (tmp_path / "problems.jsonl").write_text(
        '{"kind": "no-captions", "key": "a\u2028.jpg", "detail": "left out"}\n'
    )
    manifest = {
        "fingerprint": "0123456789abcdef",
        "source": {"format": "csv"},
        "splits": {
            "train": {"images": 1234, "captions": 6170, "caption_len_median": 11.0, "caption_len_p95": 19.5}
        },
        "generated_split": {"dev_fraction": 0.1, "seed": 42},
        "notes": ["A note"],
        "problems": {"no-captions": 1},
    }
    assert describe(tmp_path, manifest) == [
        "split     images  captions  words (median)  words (95 %)",
        "train      1,234     6,170              11          19.5",
        "The source has no split; images were assigned to splits (dev_fraction 0.1, seed 42).",
        "A note.",
        "Problems (all in problems.jsonl; bad entries were left out):",
        "        1  no-captions: images without captions",
        "           a\u2028.jpg: left out",
        f"{tmp_path}: csv, fingerprint 0123456789ab",
    ]
