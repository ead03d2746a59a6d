"""Object storage: addresses of files, folders, patterns, shards and tables; errors that pass and errors that stay."""

from __future__ import annotations

import errno
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.bulk.sources.test_parquet import write
from tests.bulk.sources.test_tar import write_tar

from showtell.bulk.caption_files import caption_files
from showtell.bulk.sources import files, storage
from showtell.bulk.sources.listing import list_units
from showtell.errors import ConfigError
from showtell.images.refusals import Limits
from showtell.inference.captioner import Captioner

fsspec = pytest.importorskip("fsspec")
MemoryFileSystem = pytest.importorskip("fsspec.implementations.memory").MemoryFileSystem

ImagesOf = Callable[..., list[Any]]
TinyJpeg = Callable[[str], bytes]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, bytes]], None]]:
    """Put files at addresses of memory, which is empty again afterwards; nothing waits."""
    monkeypatch.setattr(storage, "_WAITS", (0.0, 0.0))

    def put(files: dict[str, bytes]) -> None:
        for name, data in files.items():
            fsspec.filesystem("memory").pipe_file(name, data)

    yield put
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture
def make_flaky(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Counter[str]]:
    """Let the first reads of each part of a file fail; returns how many were tried."""

    def make(failures: int, error: Exception) -> Counter[str]:
        tried: Counter[str] = Counter()
        whole = MemoryFileSystem.cat_file

        def flaky(self: Any, path: str, start: int | None = None, end: int | None = None) -> bytes:
            tried[f"{path}:{start}"] += 1
            if tried[f"{path}:{start}"] <= failures:
                raise error
            return bytes(whole(self, path, start=start, end=end))

        monkeypatch.setattr(MemoryFileSystem, "cat_file", flaky)
        return tried

    return make


def test_files_folders_and_patterns(
    bucket: Any, images_of: ImagesOf, capfd: pytest.CaptureFixture[str]
) -> None:
    names = ["p10.jpg", "p2.PNG", "notes.txt", ".hidden.jpg", "sub/a.webp", "sub/p1.jpg"]
    bucket({f"/b/{name}": name.encode() for name in names})
    sources = {
        "memory://b/sub/a.webp": ["sub/a.webp"],
        "memory://b/p{10,2}.jpg": ["p10.jpg", "p2.jpg"],
        "memory://b/p*": ["p2.PNG", "p10.jpg"],
        "memory://b/**/*.jpg": [".hidden.jpg", "p10.jpg", "sub/p1.jpg"],
        "memory://b": ["p2.PNG", "p10.jpg"],
    }
    for source, expected in sources.items():
        found = [name.rpartition("/b/")[2] for name, _ in images_of(source.replace("//b", "///b"))]
        assert found == expected, source
    assert "files left out, no images: 1 (1 TXT)" in capfd.readouterr().err
    found = images_of("memory:///b/", recursive=True)
    assert [name for name, _ in found] == [
        f"memory:///b/{name}" for name in ("p2.PNG", "p10.jpg", "sub/a.webp", "sub/p1.jpg")
    ]
    assert found[0][1] == b"p2.PNG"


def test_shards_and_tables(bucket: Any, tmp_path: Path, images_of: ImagesOf) -> None:
    shard = write_tar(tmp_path / "0.tar.gz", [("a.jpg", b"1")], "w:gz").read_bytes()
    table = write(tmp_path / "0.parquet", {"image": [b"2"]}).read_bytes()
    paths = write(tmp_path / "1.parquet", {"path": ["a.jpg"]}).read_bytes()
    files = {"/b/0.tar.gz": shard, "/c/0.parquet": table, "/d/1.parquet": paths, "/d/a.jpg": b"3"}
    bucket(files)
    assert images_of("memory:///b", "memory:///c", "memory:///d/1.parquet") == [
        ("memory:///b/0.tar.gz/a.jpg", b"1"),
        ("memory:///c/0.parquet#0", b"2"),
        ("memory:///d/a.jpg", b"3"),
    ]


def test_files_of_this_machine_have_addresses_too(
    tmp_path: Path, write_images: Any, caption_rows: Any
) -> None:
    write_images(tmp_path / "in", ["a.png", "b.png"])
    by_path = caption_rows(tmp_path / "in")
    by_address = caption_rows(f"file://{tmp_path}/in")
    assert by_address == [{**row, "path": f"file://{row['path']}"} for row in by_path]


def test_a_large_shard_is_read_in_blocks(
    bucket: Any, tmp_path: Path, images_of: ImagesOf, monkeypatch: pytest.MonkeyPatch, make_flaky: Any
) -> None:
    monkeypatch.setattr(storage, "_BLOCK", 1_000)
    members = [(f"{number}.jpg", bytes([number]) * 700) for number in range(20)]
    bucket({"/a.tar": write_tar(tmp_path / "a.tar", members).read_bytes()})
    tried = make_flaky(0, OSError())
    assert [data for _, data in images_of("memory:///a.tar")] == [data for _, data in members]
    assert len(tried) > 20
    assert tried.total() < 1.2 * len(tried)


@pytest.mark.parametrize("error", [OSError("reset"), TimeoutError(), RuntimeError("503")])
def test_what_passes_is_tried_again(
    bucket: Any, tmp_path: Path, images_of: ImagesOf, make_flaky: Any, error: Exception
) -> None:
    shard = write_tar(tmp_path / "a.tar", [("a.jpg", b"1")]).read_bytes()
    bucket({"/a.jpg": b"2", "/a.tar": shard})
    make_flaky(2, error)
    assert [data for _, data in images_of("memory:///a.tar", "memory:///a.jpg")] == [b"1", b"2"]


def test_what_stays_is_an_error_in_its_place(
    bucket: Any, tmp_path: Path, images_of: ImagesOf, make_flaky: Any
) -> None:
    bucket({"/a.jpg": b"1", "/a.tar": write_tar(tmp_path / "a.tar", [("a.jpg", b"1")]).read_bytes()})
    tried = make_flaky(9, OSError("reset"))
    found = images_of("memory:///missing.jpg", "memory:///a.jpg", "memory:///a.tar", "memory:///missing.tar")
    assert [error.partition(". ")[0] for _, error in found] == [
        "cannot read memory:///missing.jpg: found OSError: reset",
        "cannot read memory:///a.jpg: found OSError: reset",
        "cannot read memory:///a.tar: found OSError: reset",
        "cannot read memory:///missing.tar: found no such file",
    ]
    assert tried["/a.jpg:0"] == 3


def test_what_is_missing_is_not_tried_again(bucket: Any, images_of: ImagesOf, make_flaky: Any) -> None:
    tried = make_flaky(9, FileNotFoundError())
    assert images_of("memory:///a.jpg") == [
        ("memory:///a.jpg", "cannot read memory:///a.jpg: found no such file. Check the address")
    ]
    assert tried["/a.jpg:0"] == 1


def test_an_image_of_the_web_is_an_error_in_its_place(images_of: ImagesOf) -> None:
    ((_, error),) = images_of("https://example.com/a.jpg")
    assert error.endswith("found a web address; expected a file or object storage. Download it")


def test_an_empty_file_has_no_range_of_bytes(bucket: Any, images_of: ImagesOf, make_flaky: Any) -> None:
    bucket({"/a.jpg": b"", "/b.jpg": b"1"})
    tried = make_flaky(1, OSError(errno.EINVAL, "the range is not satisfiable"))
    (_, empty), (_, error) = images_of("memory:///a.jpg", "memory:///b.jpg")
    assert empty == b""
    assert "the range is not satisfiable" in error
    assert max(tried.values()) == 1


def test_more_than_the_limit_is_not_fetched(
    bucket: Any, images_of: ImagesOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "Limits", lambda: Limits(max_bytes=3))
    bucket({"/a.jpg": b"123", "/b.jpg": b"1234"})
    (_, data), (_, error) = images_of("memory:///a.jpg", "memory:///b.jpg")
    assert data == b"123"
    assert "found a file of more than 3 bytes" in error


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("memory:///nothing/*.jpg", "no file that fits"),
        ("memory:///nothing", "no such file"),
        ("memory:///empty", "a folder without images (1 TXT). Add --recursive"),
        ("http://example.com/a", "a web address; expected a file or object storage. Download it"),
        ("nonsense://a/", "ValueError: Protocol not known: nonsense"),
    ],
)
def test_what_cannot_be_listed_is_a_problem(bucket: Any, url: str, problem: str) -> None:
    bucket({"/empty/a.txt": b""})
    (found,) = list_units([url]).problems
    assert found.startswith(f"cannot read {url}: found {problem}")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    (problem,) = list_units(["s3://bucket/folder"]).problems
    assert problem.startswith("cannot read s3://bucket/folder: found ")
    assert problem.endswith("Run: pip install s3fs")


def test_an_output_at_an_address_is_refused(
    tmp_path: Path, write_images: Any, captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path, ["a.png"])
    monkeypatch.chdir(tmp_path)
    for name in ("output", "attention"):
        with pytest.raises(ConfigError, match=r"cannot write to s3://bucket/out: found an address"):
            caption_files(captioner, ["a.png"], **{name: Path("s3://bucket/out")})
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
