"""A write is whole or has not happened, wherever it is stopped; a directory that is not ours is not read."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from showtell.errors import DataError, ImageError
from showtell.system import atomic as files
from showtell.system.atomic import (
    atomic_directory,
    atomic_path,
    read_manifest,
    resolve_swapped,
    sha256_file,
    write_json,
    write_manifest,
    write_text,
)
from showtell.system.reading import sha256_json

CRASHES = """
import os, sys
from pathlib import Path
from showtell.system.atomic import atomic_directory, atomic_path, recover_directory

here, what = Path(sys.argv[1]), sys.argv[2]
place = here / "place"
outcomes, step = [], 0
while True:
    # A child writes "new" over "old" and is killed at its step-th file operation; what the one before left lying
    # stays, so that later children clear it away and take more steps.
    for name, content in (("a", "old" * 99), ("b", "old" * 99)):
        if what == "directory":
            place.mkdir(exist_ok=True)
            (place / name).write_text(content)
        else:
            place.write_text(content)
    child = os.fork()
    if child == 0:
        seen = 0
        def audit(event, arguments):
            global seen
            if event.startswith(("open", "os.", "shutil.", "tempfile.")):
                seen += 1
                if seen > step:
                    os._exit(9)
        if what == "directory":
            sys.addaudithook(audit)
            with atomic_directory(place) as temporary:
                (temporary / "a").write_text("new" * 99)
                (temporary / "b").write_text("new" * 99)
        else:
            sys.addaudithook(audit)
            with atomic_path(place) as temporary:
                temporary.write_text("new" * 99)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if what == "directory":
        recover_directory(place)
        contents = {file.name: file.read_text() for file in place.iterdir()}
        assert set(contents) == {"a", "b"}, (step, contents)
        found = set(contents.values())
    else:
        found = {place.read_text()}
    assert found in ({"old" * 99}, {"new" * 99}), (step, found)
    outcomes.append(found.pop()[:3])
    if code == 0:
        break
    step += 1
print(step, outcomes.count("old"), outcomes.count("new"))
"""


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the kernel refuse to write files beyond ``size`` bytes, as it would on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_a_file_is_replaced_when_the_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "one\n")
    write_text(path, "två\r\n")
    assert path.read_bytes() == "två\r\n".encode()
    assert names(path.parent) == ["file.txt"]


def test_who_reads_the_old_file_meanwhile_reads_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "before")
    with path.open() as reader:
        write_text(path, "after")
        assert reader.read() == "before"


def test_a_file_gets_the_permissions_any_new_file_gets(tmp_path: Path) -> None:
    write_text(tmp_path / "ours", "x")
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_error_inside_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "before")

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise ImageError("mine")

    with pytest.raises(ImageError, match="mine"):
        fail()
    assert path.read_text() == "before"
    assert names(tmp_path) == ["file.txt"]


def test_a_disk_that_takes_no_more_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "before")
    with (
        largest_file(1_000),
        pytest.raises(DataError, match=r"cannot write .*file\.txt: found File too large\. Free"),
    ):
        write_text(path, "x" * 5_000)
    assert path.read_text() == "before"
    assert names(tmp_path) == ["file.txt"]


def test_a_disk_that_is_full_at_the_flush_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "before")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"found No space left on device.*existing files are unchanged"):
        write_text(path, "after")
    assert path.read_text() == "before"
    assert names(tmp_path) == ["file.txt"]


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Free some space or choose another place"),
        (errno.EDQUOT, "Free some space or choose another place"),
        (errno.EACCES, "Choose a place with write permission"),
        (errno.EROFS, "Choose a place with write permission"),
        (errno.ENOENT, "Check the path"),
        (errno.ENOTDIR, "Check the path"),
        (errno.EIO, "Choose another place"),
    ],
)
def test_the_advice_fits_what_went_wrong(number: int, advice: str) -> None:
    told = str(files.cannot_write(Path("place"), OSError(number, os.strerror(number))))
    reason = os.strerror(number)
    assert told == f"cannot write place: found {reason}. {advice}; existing files are unchanged"


def test_a_place_that_cannot_be_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write .*file/x: found (Not a directory|File exists)"):
        write_text(tmp_path / "file" / "x", "content")


def test_a_directory_is_replaced_as_a_whole(tmp_path: Path) -> None:
    place = tmp_path / "place"
    for content in ("one", "two"):
        with atomic_directory(place) as temporary:
            (temporary / "sub").mkdir()
            (temporary / "sub" / content).write_text(content)
    assert names(place / "sub") == ["two"]
    assert names(tmp_path) == ["place"]
    assert place.stat().st_mode & 0o777 == 0o755


def test_an_error_inside_leaves_the_directory_that_was_there(tmp_path: Path) -> None:
    place = tmp_path / "place"
    with atomic_directory(place) as temporary:
        (temporary / "a").write_text("before")

    def interrupt() -> None:
        with atomic_directory(place) as temporary:
            (temporary / "a").write_text("after")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    with (
        largest_file(10),
        pytest.raises(DataError, match="cannot write"),
        atomic_directory(place) as temporary,
    ):
        (temporary / "a").write_text("after" * 99)
    assert (place / "a").read_text() == "before"
    assert names(tmp_path) == ["place"]


def test_a_failing_second_rename_puts_the_directory_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "place"
    with atomic_directory(place) as temporary:
        (temporary / "a").write_text("before")
    rename, calls = Path.rename, []

    def fail(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 2:
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(DataError, match="Input/output error"), atomic_directory(place) as temporary:
        (temporary / "a").write_text("after")
    assert len(calls) == 3
    assert (place / "a").read_text() == "before"


def test_a_kill_between_the_renames_is_mended_by_the_next_writer(tmp_path: Path) -> None:
    place = tmp_path / "place"
    (tmp_path / ".place.old").mkdir()
    (tmp_path / ".place.old" / "a").write_text("before")
    (tmp_path / ".place.xyz.tmp").mkdir()
    (tmp_path / ".place.xyz.tmp" / "a").write_text("after")

    def read_and_fail() -> None:
        with atomic_directory(place):
            assert (place / "a").read_text() == "before"
            assert not (tmp_path / ".place.xyz.tmp").exists()
            raise ImageError("a later writer fails too")

    with pytest.raises(ImageError, match="a later writer fails too"):
        read_and_fail()
    assert (place / "a").read_text() == "before"
    assert names(tmp_path) == ["place"]


def test_what_a_kill_after_both_renames_leaves_goes_with_the_next_run(tmp_path: Path) -> None:
    for name in ("last", ".last.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state").write_text(name)
    files.recover_directory(tmp_path / "last")
    assert [path.name for path in tmp_path.iterdir()] == ["last"]
    assert (tmp_path / "last" / "state").read_text() == "last"


KILLED = """
import os, signal, sys
from pathlib import Path
from showtell.system.atomic import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_temporary_files_of_killed_writers_go_those_of_living_ones_stay(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "file"], check=False)
    assert killed.returncode == -9
    (leftover,) = tmp_path.iterdir()
    (tmp_path / ".mine.tmp").touch()
    other = "from showtell.system.atomic import write_text; import sys; from pathlib import Path; "
    other += "write_text(Path(sys.argv[1]), 'whole')"
    with atomic_path(tmp_path / "living") as living:
        living.write_text("lives")
        subprocess.run([sys.executable, "-c", other, tmp_path / "other"], check=True)
        assert living.exists()
    assert not leftover.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.tmp", "living", "other"]


def test_a_writer_leaves_what_another_living_one_is_writing(tmp_path: Path) -> None:
    place = tmp_path / "place"
    with atomic_directory(place) as first:
        with atomic_directory(place) as second:
            (second / "a").write_text("second")
        assert first.is_dir()
        (first / "a").write_text("first")
    assert (place / "a").read_text() == "first"
    assert names(tmp_path) == ["place"]


def test_a_reader_finds_what_a_killed_writer_left_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SWAP_SECONDS", 0.0)
    place, old = tmp_path / "place", tmp_path / ".place.old"
    assert resolve_swapped(place) == place
    old.mkdir()
    (tmp_path / ".place.xyz.tmp").mkdir()
    assert resolve_swapped(place) == old
    assert names(tmp_path) == [".place.old", ".place.xyz.tmp"]
    monkeypatch.setattr(time, "sleep", lambda seconds: old.rename(place))
    assert resolve_swapped(place) == place


@pytest.mark.parametrize("name", [".", "..", "../inner"])
def test_a_directory_may_be_named_by_dots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    place = Path(name)
    with pytest.raises(DataError, match=r"found no manifest\.json\. Check the path"):
        read_manifest(place, "prepared set", 1)
    assert resolve_swapped(place) == place
    meant = place.resolve()
    with atomic_directory(place) as temporary:
        (temporary / "a").write_text("new")
    assert (meant / "a").read_text() == "new"
    assert names(meant.parent) == [meant.name]


@pytest.mark.parametrize("what", ["file", "directory"])
def test_a_kill_at_any_file_operation_leaves_the_old_or_the_new(tmp_path: Path, what: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CRASHES, str(tmp_path), what],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    steps, old, new = (int(count) for count in done.stdout.split())
    assert steps >= 6
    assert old >= 4
    assert new >= 2
    assert old + new == steps + 1


def test_hashes_are_of_content(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_json({"a": 1, "b": ["é", None]}) == sha256_json({"b": ["é", None], "a": 1})
    assert sha256_json({"a": 1}) != sha256_json({"a": "1"})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.thorough
@settings(max_examples=15)
@given(json_values)
def test_json_comes_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.mktemp("json") / "value.json"
    write_json(path, value)
    assert json.loads(path.read_text(encoding="utf-8")) == value


def test_a_manifest_says_kind_and_format(tmp_path: Path) -> None:
    write_manifest(tmp_path, "prepared set", 3, {"rows": 7})
    assert read_manifest(tmp_path, "prepared set", 3) == {"kind": "prepared set", "format": 3, "rows": 7}


def test_another_kind_or_format_is_refused_with_advice(tmp_path: Path) -> None:
    write_manifest(tmp_path, "prepared set", 3, {})
    with pytest.raises(DataError, match=r"is not a feature cache: found a prepared set\. Check the path"):
        read_manifest(tmp_path, "feature cache", 3)
    with pytest.raises(
        DataError, match=r"cannot use .*: found prepared set, format 3; expected format 4\. Make"
    ):
        read_manifest(tmp_path, "prepared set", 4)
    with pytest.raises(DataError, match=r"expected format 4\. Delete it"):
        read_manifest(tmp_path, "prepared set", 4, outdated="Delete it")


def test_advice_for_a_directory_without_a_manifest_may_be_given(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"found no manifest\.json\. Prepare it first"):
        read_manifest(tmp_path, "prepared set", 1, missing="Prepare it first")
    with pytest.raises(DataError, match=r"found no such directory\. Check the path"):
        read_manifest(tmp_path / "nowhere", "prepared set", 1, missing="Prepare it first")


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"kind": "x"}', "\x00"])
def test_a_manifest_that_makes_no_sense_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=r"cannot read .*manifest\.json: found .*Make the prepared set again"):
        read_manifest(tmp_path, "prepared set", 1)


def test_a_directory_without_a_manifest_or_none_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not a prepared set: found no manifest\.json\. Check the path"):
        read_manifest(tmp_path, "prepared set", 1)
    with pytest.raises(
        DataError, match=r"nowhere is not a prepared set: found no such directory\. Check the path"
    ):
        read_manifest(tmp_path / "nowhere", "prepared set", 1)
    (tmp_path / ".nowhere.old").mkdir()
    with pytest.raises(
        DataError, match=r"A killed process left it as a backup: mv \S+/\.nowhere\.old \S+/nowhere"
    ):
        read_manifest(tmp_path / "nowhere", "prepared set", 1)
