"""Images that were edited after prepare are noticed; copied and touched ones are not mistaken for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from showtell.data import changes
from showtell.data.changes import require_unchanged
from showtell.data.prepared import PreparedSet, prepare
from showtell.errors import DataError


@pytest.fixture
def prepared(tmp_path: Path, write_jpegs: Callable[[Path, Iterable[str]], None]) -> PreparedSet:
    names = [f"{number}.jpg" for number in range(8)]
    write_jpegs(tmp_path / "source", names)
    table = "".join(f"{name},Caption of {name} .\n" for name in names)
    (tmp_path / "source" / "set.csv").write_text(f"image,caption\n{table}")
    return prepare(tmp_path / "source" / "set.csv", tmp_path / "set", dev_fraction=0.25)


def all_rows(prepared: PreparedSet) -> np.ndarray:
    return np.arange(len(prepared))


def edit(path: Path, content: bytes, *, keep_time: bool = False) -> None:
    status = path.stat()
    path.write_bytes(content)
    later = status.st_mtime_ns if keep_time else status.st_mtime_ns + 1
    os.utime(path, ns=(status.st_atime_ns, later))


def test_the_set_has_size_and_time_of_each_image(prepared: PreparedSet) -> None:
    for row in range(len(prepared)):
        status = prepared.image_path(row).stat()
        assert prepared.file_status(row) == (status.st_size, status.st_mtime_ns)


@pytest.mark.parametrize("kind", ["another size", "other bytes, same size", "another size, same time"])
def test_an_edited_image_is_named(prepared: PreparedSet, kind: str) -> None:
    path = prepared.image_path(3)
    content = path.read_bytes()
    other = (
        content[:-1] + b"\0"
        if kind == "other bytes, same size"
        else prepared.image_path(4).read_bytes() + b"\0"
    )
    edit(path, other, keep_time="same time" in kind)
    message = r"^1 image has changed since .*set was prepared: found 3\.jpg\. Run showtell prepare again$"
    with pytest.raises(DataError, match=message):
        require_unchanged(prepared, all_rows(prepared))
    require_unchanged(prepared, all_rows(prepared)[4:])
    edit(path, content)
    require_unchanged(prepared, all_rows(prepared))


def test_many_edited_images_are_counted(prepared: PreparedSet) -> None:
    for row in range(7):
        edit(prepared.image_path(row), b"another image")
    with pytest.raises(
        DataError, match=r"^7 images have changed .*: found 0\.jpg, .*, 4\.jpg and 2 more\. Run"
    ):
        require_unchanged(prepared, all_rows(prepared))


def test_touched_and_copied_images_are_compared_once_by_their_bytes(
    prepared: PreparedSet, capsys: pytest.CaptureFixture[str]
) -> None:
    for row in (1, 2):
        path = prepared.image_path(row)
        edit(path, path.read_bytes())
    require_unchanged(prepared, all_rows(prepared))
    printed = "2 images have another size or time than when the set was prepared; comparing bytes\n"
    assert capsys.readouterr().err == printed
    require_unchanged(prepared, all_rows(prepared))
    assert capsys.readouterr().err == ""
    again = PreparedSet.load(prepared.directory)
    require_unchanged(again, all_rows(again))
    assert capsys.readouterr().err == ""
    assert again.verified.all()


@pytest.mark.parametrize("content", [None, "no JSON", "[1]", '{"1": 2}'])
def test_touched_images_are_compared_again_if_the_result_cannot_be_kept(
    prepared: PreparedSet, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(prepared.image_path(1), prepared.image_path(1).read_bytes())
    kept = prepared.directory / changes.COMPARED
    if content is None:
        kept.mkdir()
    else:
        kept.write_text(content)
    require_unchanged(prepared, all_rows(prepared))
    assert "comparing bytes" in capsys.readouterr().err
    assert prepared.verified.all()


def test_an_image_edited_after_it_was_compared_is_named(prepared: PreparedSet) -> None:
    path = prepared.image_path(1)
    content = path.read_bytes()
    edit(path, content)
    require_unchanged(prepared, all_rows(prepared))
    edit(path, content[:-1] + b"\0")
    again = PreparedSet.load(prepared.directory)
    with pytest.raises(DataError, match=r"^1 image has changed"):
        require_unchanged(again, all_rows(again))
    assert again.verified.sum() == len(again) - 1


def test_unchanged_images_are_not_read(prepared: PreparedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "sha256_file", lambda path: pytest.fail("read"))
    monkeypatch.setattr(changes, "ROWS_PER_TASK", 3)
    require_unchanged(prepared, all_rows(prepared))
    require_unchanged(prepared, all_rows(prepared)[:0])
    assert prepared.verified.all()


def test_a_missing_image_is_no_change(prepared: PreparedSet) -> None:
    prepared.image_path(0).unlink()
    require_unchanged(prepared, all_rows(prepared))
    assert prepared.verified.tolist() == [False] + [True] * (len(prepared) - 1)
    prepared.image_path(0).write_bytes(b"another image")
    with pytest.raises(DataError, match=r"found 0\.jpg"):
        require_unchanged(prepared, all_rows(prepared))
