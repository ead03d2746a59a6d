"""The report of a set's problems: counts and first examples."""

from __future__ import annotations

import pytest

from showtell.data.problems import by_kind, printable, report
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
