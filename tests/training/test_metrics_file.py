"""metrics.jsonl: rows of steps that will be done again are cut, and so is a torn last line."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from showtell.errors import DataError
from showtell.training.tracking import Trackers, read_metrics


def log_rows(run: Path, resume_step: int, steps: range) -> None:
    trackers = Trackers([], resume_step=resume_step)
    trackers.start(run)
    for step in steps:
        trackers.log(step, {"event": "step", "loss": 1.0 / step})
    trackers.finish()


def test_rows_are_read_back(tmp_path: Path) -> None:
    log_rows(tmp_path, 0, range(1, 4))
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 3]
    assert read_metrics(tmp_path)[1] == {"event": "step", "step": 2, "loss": 0.5}


def test_rows_beyond_the_resumed_step_are_dropped(tmp_path: Path) -> None:
    log_rows(tmp_path, 0, range(1, 9))
    log_rows(tmp_path, 5, range(6, 8))
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 3, 4, 5, 6, 7]


def test_rows_survive_a_rewrite_that_cannot_be_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_rows(tmp_path, 0, range(1, 4))
    write = Path.write_text

    def torn(path: Path, text: str, **keys: str) -> int:
        write(path, text[:9], **keys)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", torn)
    with pytest.raises(DataError, match="No space left on device"):
        Trackers([], resume_step=2).start(tmp_path)
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 3]


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    log_rows(tmp_path, 0, range(1, 4))
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text(encoding="utf-8")[:-9], encoding="utf-8")
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2]


def test_no_file_means_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []
