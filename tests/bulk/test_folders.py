"""Outputs on object storage: the same bytes, after interruptions too; who may write; what cannot go there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.bulk.stub_captioner import StubCaptioner

from showtell.bulk.caption_files import caption_files
from showtell.bulk.dry_run import print_plan
from showtell.bulk.engine import Event, ThisProcess
from showtell.bulk.sidecars import Sidecars
from showtell.bulk.sources import storage
from showtell.bulk.sources.listing import list_units
from showtell.bulk.writers import choose_format
from showtell.errors import ConfigError, DataError

fsspec = pytest.importorskip("fsspec")
MemoryFileSystem = pytest.importorskip("fsspec.implementations.memory").MemoryFileSystem

Write = Callable[[Path, Iterable[str]], None]


class Engine(ThisProcess):
    """Calls a function before each event."""

    def __init__(self, before: Callable[[int], object] = lambda number: None) -> None:
        captioner: Any = StubCaptioner()
        super().__init__(captioner)
        self._before = before

    def events(self, *arguments: Any, **options: Any) -> Any:
        event: Event
        for number, event in enumerate(super().events(*arguments, **options)):
            self._before(number)
            yield event


@pytest.fixture(autouse=True)
def _empty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(storage, "_WAITS", (0.0, 0.0))
    yield
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture
def images(tmp_path: Path, write_images: Write) -> Path:
    write_images(tmp_path / "in", [f"{number}.png" for number in range(6)])
    return tmp_path / "in"


def interrupt_at(last: int) -> Callable[[int], None]:
    def interrupt(number: int) -> None:
        if number == last:
            raise KeyboardInterrupt

    return interrupt


@pytest.mark.parametrize("suffix", ["txt", "jsonl", "csv", "json", "parquet"])
def test_an_output_on_object_storage_has_the_bytes_of_one_on_a_disk(
    tmp_path: Path, images: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    url = f"memory://bucket/out.{suffix}"
    form = choose_format(None, url)
    report = caption_files(Engine(), [images], output=tmp_path / "out", form=form, batch_size=2)
    for last in (3, 1):
        with pytest.raises(KeyboardInterrupt):
            caption_files(Engine(interrupt_at(last)), [images], output=url, form=form, batch_size=2)
    print_plan(list_units([images]), url)
    assert f"6 images, of which 4 are in {url}.parts, into {url}\n" in capfd.readouterr().err
    assert caption_files(Engine(), [images], output=url, form=form, batch_size=2) == report
    assert list(MemoryFileSystem.store) == [f"/bucket/out.{suffix}"]
    assert MemoryFileSystem.cat_file(fsspec.filesystem("memory"), url) == (tmp_path / "out").read_bytes()


def test_a_second_call_takes_over_and_the_first_ends(tmp_path: Path, images: Path) -> None:
    call = partial(caption_files, sources=[images], form="jsonl", batch_size=2)
    url = "memory://bucket/out.jsonl"
    second = partial(call, Engine(interrupt_at(4)), output=url)

    def begin_second(number: int) -> None:
        if number == 3:
            with pytest.raises(KeyboardInterrupt):
                second()
            # As if it were running still.
            MemoryFileSystem.pipe_file(fsspec.filesystem("memory"), f"{url}.parts/running.json", b"{}")

    with pytest.raises(DataError, match=r"out\.jsonl\.parts is in use by another process.*began after this"):
        call(Engine(begin_second), output=url)
    call(Engine(), output=tmp_path / "out.jsonl")
    call(Engine(), output=url)
    assert fsspec.filesystem("memory").cat_file(url) == (tmp_path / "out.jsonl").read_bytes()
    assert list(MemoryFileSystem.store) == ["/bucket/out.jsonl"]


def test_another_command_neither_mixes_its_rows_nor_deletes_those_of_the_first(images: Path) -> None:
    call = partial(caption_files, sources=[images], form="jsonl", output="memory://bucket/out.jsonl")
    with pytest.raises(KeyboardInterrupt):
        call(Engine(interrupt_at(3)))
    with pytest.raises(DataError, match=r"memory://bucket/out\.jsonl\.parts holds the captions of another"):
        call(Engine(), beam_size=2)
    assert call(Engine(), beam_size=2, overwrite=True).num_captioned == 6


def test_captioning_does_not_wait_for_parts_and_no_part_comes_before_an_earlier_one(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("showtell.bulk.sources.listing.UNIT_IMAGES", 2)
    whole, is_captioned, put = MemoryFileSystem.put_file, threading.Event(), list[str]()

    def slow(self: Any, lpath: str, rpath: str, **options: Any) -> None:
        if "-" in rpath:
            assert is_captioned.wait(60)
            put.append(rpath.rpartition("/")[2].partition("-")[0])
        whole(self, lpath, rpath, **options)

    monkeypatch.setattr(MemoryFileSystem, "put_file", slow)
    engine = Engine(lambda number: is_captioned.set() if number == 7 else None)
    assert (
        caption_files(engine, [images], output="memory://bucket/out.jsonl", batch_size=2).num_captioned == 6
    )
    assert put == ["00000000", "00000001", "00000002"]


def test_what_cannot_be_written_there_is_one_error(images: Path, tmp_path: Path) -> None:
    call = partial(caption_files, Engine(), [images])
    for url, found in {"sftp://host/a.jsonl": "found sftp://", "s3://bucket/": "found no file name"}.items():
        with pytest.raises(ConfigError, match=f"cannot write to {url}: {found}; expected a path on this"):
            call(output=url)
    for option in (
        {"attention": Path("s3://bucket/maps"), "output": tmp_path / "out"},
        {"output": Sidecars([images], folder=Path("s3://bucket/texts"))},
    ):
        with pytest.raises(ConfigError, match=r"cannot write to s3://bucket/.*: found an address"):
            call(**option)


def test_an_object_that_cannot_be_written_leaves_what_was_written_before(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = partial(caption_files, Engine(), [images], form="jsonl", output="memory://bucket/out.jsonl")
    whole = MemoryFileSystem.put_file

    def refused(self: Any, lpath: str, rpath: str, **options: Any) -> None:
        if rpath.endswith("out.jsonl"):
            raise PermissionError(13, "Access Denied")
        whole(self, lpath, rpath, **options)

    monkeypatch.setattr(MemoryFileSystem, "put_file", refused)
    with pytest.raises(DataError, match=r"cannot write memory://bucket/out\.jsonl: found .*Access Denied"):
        call()
    monkeypatch.undo()
    assert call().num_captioned == 6
    assert list(MemoryFileSystem.store) == ["/bucket/out.jsonl"]
