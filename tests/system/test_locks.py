"""One process at a time writes a directory; a killed one holds nothing."""

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from showtell.errors import DataError
from showtell.system.locks import locked_directory

HOLD = """
import sys, time
from pathlib import Path
from showtell.system.locks import locked_directory
with locked_directory(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""


@contextmanager
def held_by_another_process(directory: Path) -> Iterator[None]:
    """Hold a directory's lock in a process that is killed at the end."""
    command = [sys.executable, "-c", HOLD, str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        try:
            yield
        finally:
            process.kill()


@pytest.mark.parametrize("exists", [False, True])
def test_a_second_process_is_refused_and_a_killed_one_holds_nothing(tmp_path: Path, exists: bool) -> None:
    run = tmp_path / "runs" / "one"
    if exists:
        run.mkdir(parents=True)
    refusal = r"runs/one is in use by another process that writes it\. Wait until that process has ended, or"
    with held_by_another_process(run):
        link = tmp_path / "link"
        link.symlink_to(run)
        for path in (run, link, run.parent / ".." / "runs" / "one"):
            with pytest.raises(DataError, match=refusal), locked_directory(path):
                pass
        with locked_directory(tmp_path / "runs" / "two"):
            pass
    with locked_directory(run):
        pass
    assert list(run.parent.iterdir()) == ([run] if exists else [])


def test_the_lock_survives_a_replaced_directory(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with locked_directory(run):
        run.rename(tmp_path / "old")
        run.mkdir()
        with pytest.raises(DataError, match="in use"), locked_directory(run):
            pass


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_reported(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked_directory(tmp_path / "run"):
        pass
    expected = (
        f"cannot lock {tmp_path / 'run'} ({os.strerror(code)}): make sure that no other process writes it\n"
    )
    assert capsys.readouterr().err == expected


def test_a_finished_directory_on_a_read_only_disk_needs_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with locked_directory(tmp_path):
        pass
    assert capsys.readouterr().err == ""


def test_a_place_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(DataError, match=r"cannot write .*file/run"),
        locked_directory(tmp_path / "file" / "run"),
    ):
        pass
