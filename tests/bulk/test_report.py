"""The progress of a job."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from showtell.bulk.report import show_progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that the test moves; a line of progress is printed for every image."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr("showtell.system.console.PLAIN_INTERVAL_S", 0.0)
    return now


def lines_of_batches(
    clock: list[float], capsys: pytest.CaptureFixture[str], *, seconds: float, total: int | None = 320
) -> Iterator[str]:
    """Yield the line after the first image of each batch of 32, the first of them after a minute of loading."""
    with show_progress(total) as advance:
        clock[0] = 60.0
        for _ in range(5):
            advance()
            yield capsys.readouterr().err.splitlines()[-1]
            for _ in range(31):
                advance()
            clock[0] += seconds


def test_rate_and_time_left_are_shown_once_they_mean_something(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(lines_of_batches(clock, capsys, seconds=8.0)) == [
        "captioning: 1/320 images",
        "captioning: 33/320 images",
        "captioning: 65/320 images 4.0 images/s, 1:04 left",
        "captioning: 97/320 images 4.0 images/s, 0:56 left",
        "captioning: 129/320 images 4.0 images/s, 0:48 left",
    ]


def test_without_a_known_number_of_images_no_time_is_left(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = list(lines_of_batches(clock, capsys, seconds=8.0, total=None))
    assert lines[-1] == "captioning: 129 images 4.0 images/s"
