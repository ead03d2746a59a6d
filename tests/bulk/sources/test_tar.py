"""Shards: which members are images, what is wrong with some, resuming, memory."""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from showtell.bulk.sources import tar
from showtell.images.refusals import Limits

ImagesOf = Callable[..., list[Any]]
TinyJpeg = Callable[[str], bytes]


def write_tar(path: Path, members: Iterable[tuple[str, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as shard:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            shard.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.TAR.GZ", "w:gz"), ("a.tgz", "w:gz")])
def test_members_are_captioned_in_their_order_and_named_by_the_shard(
    tmp_path: Path, tiny_jpeg: TinyJpeg, caption_rows: Callable[..., list[Any]], name: str, mode: str
) -> None:
    names = ["b.jpg", "folder/a.JPG", "b.jpg"]
    members = [(each, tiny_jpeg(f"{place}")) for place, each in enumerate(names)]
    shard = write_tar(tmp_path / name, members, mode)
    rows = caption_rows(shard)
    assert [row["path"] for row in rows] == [f"{shard}/{each}" for each in names]
    for row, (_, data) in zip(rows, members, strict=True):
        (tmp_path / "alone.jpg").write_bytes(data)
        assert row["caption"] == caption_rows(tmp_path / "alone.jpg")[0]["caption"]


def test_only_images_are_taken(tmp_path: Path, tiny_jpeg: TinyJpeg, images_of: ImagesOf) -> None:
    image = tiny_jpeg("a")
    members = {
        "0.jpg": image,
        "0.txt": b"A dog.",
        "0.json": b"{}",
        "._0.jpg": b"shadow",
        "__MACOSX/0.jpg": b"shadow",
        ".hidden.jpg": image,
        "./1": image,
        "2.bin": b"\0\1\2",
        "3.cr2": b"II*\0\x10\0\0\0CR\2\0",
    }
    shard = write_tar(tmp_path / "a.tar", members.items())
    found = images_of(shard)
    assert [name.removeprefix(f"{shard}/") for name, _ in found] == ["0.jpg", "1", "3.cr2"]
    assert found[0][1] == found[1][1] == image


def test_a_link_is_an_error_in_its_place(tmp_path: Path, images_of: ImagesOf) -> None:
    shard = write_tar(tmp_path / "a.tar", [("0.jpg", b"first")])
    with tarfile.open(shard, "a") as file:
        link = tarfile.TarInfo("1.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
        file.addfile(tarfile.TarInfo("2.jpg"))
    (_, first), (name, error), (_, last) = images_of(shard)
    assert (first, name, last) == (b"first", f"{shard}/1.jpg", b"")
    assert error == f"cannot read {shard}/1.jpg: found a link or a special file. Leave it out"


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_where_a_shard_is_cut_there_is_an_error_and_the_next_is_read(
    tmp_path: Path, images_of: ImagesOf, mode: str
) -> None:
    members = [(f"{number}.jpg", os.urandom(3_000)) for number in range(4)]
    shard = write_tar(tmp_path / "a.tar", members, mode)
    shard.write_bytes(shard.read_bytes()[:9_000])
    other = write_tar(tmp_path / "b.tar", [("0.jpg", b"whole")])
    found = images_of(shard, other)
    assert [Path(name).name for name, _ in found] == ["0.jpg", "1.jpg", "2.jpg", "a.tar", "0.jpg"]
    assert found[1][1] == members[1][1]
    assert found[2][1].startswith(f"cannot read {shard}/2.jpg: found ")
    assert found[3][1].startswith(f"cannot read {shard}: found cut or broken at byte ")
    (position,) = re.findall(r"at byte ([\d,]+)", found[3][1])
    assert int(position.replace(",", "")) <= (9_000 if mode == "w" else 10_700)  # three members: 10,752
    assert found[4][1] == b"whole"
    for start in range(5):
        assert images_of(shard, start=start) == found[start:4]


def test_what_is_no_shard_is_one_error(tmp_path: Path, images_of: ImagesOf) -> None:
    (tmp_path / "text.tar").write_bytes(b"no" * 1_000)
    write_tar(tmp_path / "none.tar", [("a.txt", b"")])
    shards = [tmp_path / f"{name}.tar" for name in ("text", "missing", "none")]
    found = images_of(*shards)
    assert [name for name, _ in found] == list(map(str, shards))
    for (_, error), expected in zip(
        found, ["invalid header", "No such file or directory", "a .tar without images"], strict=True
    ):
        assert f": found {expected}" in error


def test_a_member_over_the_limit_is_not_read(
    tmp_path: Path, images_of: ImagesOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tar, "Limits", lambda: Limits(max_bytes=5))
    shard = write_tar(tmp_path / "a.tar", [("0.jpg", b"123456"), ("1.jpg", b"12345")])
    (_, error), (_, data) = images_of(shard)
    assert "6 bytes, more than 5" in error
    assert data == b"12345"


@pytest.mark.thorough
def test_a_call_resumes_in_the_middle_of_a_shard(
    tmp_path: Path, tiny_jpeg: TinyJpeg, check_resume: Callable[..., None]
) -> None:
    members = [(f"{number}.jpg", tiny_jpeg(f"{number}")) for number in range(5)]
    for number in range(2):
        write_tar(tmp_path / f"{number}.tar", members)
    (tmp_path / "0.tar").write_bytes((tmp_path / "0.tar").read_bytes()[:3_000])
    check_resume(tmp_path, after=[1, 2, 1])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_members(
    tmp_path: Path, tiny_jpeg: TinyJpeg, peak_of: Callable[..., int]
) -> None:
    data = tiny_jpeg("a")
    peaks = []
    for count in (200, 20_000):
        members = ((f"{number:05}.jpg", data) for number in range(count))
        peaks.append(peak_of(write_tar(tmp_path / f"{count}.tar", members), count))
    assert peaks[1] < peaks[0] + 2 * 2**20
