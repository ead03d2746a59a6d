"""Sources on this machine: patterns, folders of shards and tables, lists of files, rows in the order given."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from tests.bulk.sources.test_parquet import write
from tests.bulk.sources.test_tar import write_tar

from showtell.bulk.sources.file_list import read_file_list
from showtell.bulk.sources.listing import list_units
from showtell.errors import DataError

ImagesOf = Callable[..., list[Any]]
Write = Callable[[Path, Iterable[str]], None]


def test_patterns_are_expanded_in_natural_order(
    tmp_path: Path, write_images: Write, images_of: ImagesOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path, ["p10.jpg", "p2.jpg", "sub/a.jpg", ".hidden/a.jpg", "[1].jpg"])
    monkeypatch.chdir(tmp_path)
    assert list(map(str, images_of("p*.jpg"))) == ["p2.jpg", "p10.jpg"]
    assert list(map(str, images_of("**/[ap]*.jpg"))) == ["p2.jpg", "p10.jpg", "sub/a.jpg"]
    assert list(map(str, images_of("p{01..03}.jpg"))) == ["p01.jpg", "p02.jpg", "p03.jpg"]
    assert images_of(tmp_path / "[1].jpg") == [tmp_path / "[1].jpg"]
    assert list_units(["q*.jpg"]).problems == [
        "cannot read q*.jpg: found no file that fits. Check the pattern"
    ]


def test_a_folder_without_images_is_its_shards_or_its_tables(tmp_path: Path, images_of: ImagesOf) -> None:
    for folder in ("shards", "dataset/data"):
        (tmp_path / folder).mkdir(parents=True)
    for number in (10, 9):
        write_tar(tmp_path / "shards" / f"{number}.tar", [("a.jpg", b"%d" % number)])
        write(tmp_path / "dataset" / "data" / f"train-{number}.parquet", {"image": [b"%d" % number]})
    write(tmp_path / "shards" / "9.parquet", {"url": ["s3://"], "status": ["success"]})
    for folder in ("shards", "dataset"):
        assert [data for _, data in images_of(tmp_path / folder)] == [b"9", b"10"]
    (problem,) = list_units([tmp_path]).problems
    assert problem.endswith("a folder without images. Add --recursive for the images of its folders")
    assert [data for _, data in images_of(tmp_path, recursive=True)] == [b"9", b"10"]


def test_rows_come_in_the_order_of_the_sources(
    tmp_path: Path, write_images: Write, caption_rows: Callable[..., list[Any]]
) -> None:
    write_images(tmp_path, ["a.png", "b.png"])
    shard = write_tar(tmp_path / "s.tar", [("c.png", (tmp_path / "a.png").read_bytes())])
    table = write(tmp_path / "t.parquet", {"image": [b"broken"], "id": ["t"]})
    missing = tmp_path / "missing.tar"
    rows = caption_rows(tmp_path / "b.png", table, missing, tmp_path / "a.png", shard, tmp_path / "a.png")
    assert [row["path"] for row in rows] == [
        str(tmp_path / "b.png"),
        "t",
        str(missing),
        str(tmp_path / "a.png"),
        f"{shard}/c.png",
        str(tmp_path / "a.png"),
    ]
    assert ["error" in row for row in rows] == [False, True, True, False, False, False]
    assert rows[1]["error"].startswith("cannot read t: found ")
    assert rows[3]["caption"] == rows[4]["caption"] == rows[5]["caption"]


def test_attention_is_drawn_of_images_in_shards_and_tables(
    tmp_path: Path, write_images: Write, caption_rows: Callable[..., list[Any]]
) -> None:
    write_images(tmp_path, ["a.png"])
    image = (tmp_path / "a.png").read_bytes()
    shard = write_tar(tmp_path / "s.tar", [("1/a.png", image), ("2/a.png", image)])
    table = write(tmp_path / "t.parquet", {"image": [image], "id": ["a\0/b\0"]})
    rows = caption_rows(shard, table, attention=tmp_path / "maps")
    names = ["a.attention.png", "a.attention-2.png", "b.attention.png"]
    assert [row["attention"] for row in rows] == [str(tmp_path / "maps" / name) for name in names]


@pytest.mark.parametrize(
    ("content", "paths"),
    [
        (b"a.jpg\nb c.jpg\n\n d.jpg", ["a.jpg", "b c.jpg", " d.jpg"]),
        (b"\xef\xbb\xbfa.jpg\r\nb.jpg\r\n", ["a.jpg", "b.jpg"]),
        (b"a\nb.jpg\0c.jpg\0", ["a\nb.jpg", "c.jpg"]),
        (b"\xff.jpg\n", [os.fsdecode(b"\xff.jpg")]),
        (b"x" * 70_000 + b"\ny", ["x" * 70_000, "y"]),
        (b"", []),
    ],
)
def test_lists_have_a_path_a_line_or_between_nuls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, paths: list[str]
) -> None:
    (tmp_path / "list").write_bytes(content)
    found = read_file_list(tmp_path / "list")
    assert list(found.paths) == paths
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    from_stdin = read_file_list(Path("-"))
    assert list(from_stdin.paths) == paths
    assert from_stdin.sha256 == found.sha256


def test_a_list_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing: found No such file"):
        read_file_list(tmp_path / "missing")
    (tmp_path / "list").write_text("a.jpg\n", encoding="utf-16")
    with pytest.raises(DataError, match=r"list: found UTF-16; expected UTF-8"):
        read_file_list(tmp_path / "list")


def test_names_in_a_list_are_no_patterns(
    tmp_path: Path, write_images: Write, caption_rows: Callable[..., list[Any]]
) -> None:
    write_images(tmp_path, ["a.png", "{a,b}.png"])
    shard = write_tar(tmp_path / "s.tar", [("c.png", (tmp_path / "a.png").read_bytes())])
    names = [f"{tmp_path}/{name}" for name in ("{a,b}.png", "*.png", "s.tar")]
    (tmp_path / "list").write_text("\n".join(names), encoding="utf-8")
    rows = caption_rows(tmp_path / "a.png", file_list=tmp_path / "list")
    assert [row["path"] for row in rows] == [f"{tmp_path}/a.png", *names[:2], f"{shard}/c.png"]
    assert ["error" in row for row in rows] == [False, False, True, False]
