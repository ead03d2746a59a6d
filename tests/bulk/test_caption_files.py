"""Files and folders into rows: order, listing, drawings, outputs that are whole."""

from __future__ import annotations

import errno
import io
import json
import os
import re
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from showtell.bulk.caption_files import caption_files
from showtell.bulk.writers import choose_format
from showtell.errors import ConfigError, DataError, ImageError
from showtell.images.listing import list_images, natural_key
from showtell.images.load import load_image
from showtell.inference.captioner import Captioner

Write = Callable[[Path, Iterable[str]], None]


@pytest.fixture(scope="module")
def captioner(tiny_checkpoint: Callable[[str], Path]) -> Captioner:
    return Captioner.load(tiny_checkpoint("attention"), device="cpu")


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_folders_become_their_pictures_in_natural_order(tmp_path: Path, write_images: Write) -> None:
    write_images(
        tmp_path, ["p10.jpg", "p2.PNG", "P1.jpeg", ".hidden.jpg", "notes.txt", "sub/a.webp", ".git/b.jpg"]
    )
    (tmp_path / "z.jpg").mkdir()
    single = tmp_path / "notes.txt"
    found, problems = list_images([single, tmp_path])
    assert [path.name for path in found] == ["notes.txt", "P1.jpeg", "p2.PNG", "p10.jpg"]
    assert problems == []
    found, _ = list_images([tmp_path], recursive=True)
    assert [path.name for path in found] == ["P1.jpeg", "p2.PNG", "p10.jpg", "a.webp"]


def natural_parts(name: str) -> tuple[list[tuple[int, str]], str]:
    parts = re.split(r"([0-9]+)", name.casefold())
    return [(int(part), "") if place % 2 else (0, part) for place, part in enumerate(parts)], name


@given(
    st.lists(st.text(st.sampled_from("0012aBb\u00df\u00e9 -.\udc80\uffff\U0001f600"), max_size=8), max_size=8)
)
def test_natural_order_is_of_texts_and_numbers_by_turns(names: list[str]) -> None:
    assert sorted(names, key=natural_key) == sorted(names, key=natural_parts)


def test_of_a_folder_that_cannot_be_listed_to_its_end_nothing_is_taken(
    tmp_path: Path, write_images: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path, ["a.jpg", "sub/b.jpg", "z.jpg"])
    scandir = os.scandir

    def closed(path: Path) -> object:
        if Path(path).name == "sub":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    found, problems = list_images([tmp_path / "a.jpg", tmp_path], recursive=True)
    assert list(found) == [tmp_path / "a.jpg"]
    assert problems == [f"cannot read {tmp_path}: found Permission denied"]


def test_folders_without_pictures_are_told(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path, ["sub/a.jpg"])
    found, problems = list_images([tmp_path, tmp_path / "sub"])
    assert [path.name for path in found] == ["a.jpg"]
    assert problems == [
        f"cannot read {tmp_path}: found a folder without images. Add --recursive for the images of its folders"
    ]


def test_no_file_of_a_folder_is_skipped_in_silence(
    tmp_path: Path, write_images: Write, captioner: Captioner, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path, ["a.png"])
    (tmp_path / "b.CR2").write_bytes(b"II*\0\x10\0\0\0CR\2\0")
    (tmp_path / "c.mov").touch()
    (tmp_path / "a.txt").touch()
    report = caption_files(captioner, [tmp_path], output=tmp_path / "out" / "captions.jsonl")
    assert report.num_captioned == 1
    assert [problem.partition(";")[0] for problem in report.problems] == [
        f"cannot read {tmp_path / 'b.CR2'}: found a camera RAW file (Canon CR2)"
    ]
    assert "files left out, no images: 2 (1 " in capsys.readouterr().err


def test_rows_come_in_the_order_given_and_errors_in_their_places(
    tmp_path: Path, write_images: Write, captioner: Captioner
) -> None:
    write_images(tmp_path, [f"{number}.png" for number in range(7)])
    (tmp_path / "3.png").write_bytes(b"")
    out = tmp_path / "out" / "captions.jsonl"
    paths = [tmp_path / "6.png", tmp_path / "none.png", tmp_path]
    report = caption_files(captioner, paths, output=out, form="jsonl", batch_size=2)
    listed = read(out)
    names = [Path(str(row["path"])).name for row in listed]
    assert names == ["6.png", "none.png", *[f"{number}.png" for number in range(7)]]
    assert ["error" in row for row in listed] == [name in ("none.png", "3.png") for name in names]
    assert listed[0] == {**listed[-1], "path": listed[0]["path"]}
    assert report.num_captioned == 7
    assert "no such file" in report.problems[0]
    assert "an empty file" in report.problems[1]
    alone = captioner.caption(tmp_path / "5.png")
    assert listed[7]["caption"] == alone.text
    assert [path.name for path in out.parent.iterdir()] == ["captions.jsonl"]


def test_rows_go_to_standard_output(
    tmp_path: Path, write_images: Write, captioner: Captioner, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    write_images(tmp_path, ["a\nb.png", "ü.png"])
    caption_files(captioner, [tmp_path])
    out = capfdbinary.readouterr().out.decode()
    assert [line.split("\t")[0] for line in out.splitlines()] == [
        f"{tmp_path}/a\\nb.png",
        f"{tmp_path}/ü.png",
    ]


def test_nothing_to_caption_is_an_error(tmp_path: Path, captioner: Captioner) -> None:
    with pytest.raises(DataError, match=r"nothing to caption: found cannot read .* a folder without images"):
        caption_files(captioner, [tmp_path])


def test_an_output_that_cannot_be_written_is_told(
    tmp_path: Path, write_images: Write, captioner: Captioner
) -> None:
    write_images(tmp_path, ["a.png", "folder/b.png"])
    with pytest.raises(DataError, match=r"cannot write .*folder: found Is a directory"):
        caption_files(captioner, [tmp_path / "a.png"], output=tmp_path / "folder")
    assert not (tmp_path / "folder.parts").exists()
    with pytest.raises(DataError, match=r"cannot write .*: found Is a directory\. Check the path"):
        caption_files(captioner, [tmp_path / "a.png"], output=Path())
    with pytest.raises(DataError, match=r"cannot write .*a\.png/out"):
        caption_files(captioner, [tmp_path / "a.png"], output=tmp_path / "a.png" / "out")


def interrupt(monkeypatch: pytest.MonkeyPatch, captioner: Captioner, *, after: int) -> None:
    """Let the captioner's next stream end by Ctrl-C after some captions."""
    whole = captioner.stream_batches

    def interrupted(*arguments: Any, **options: Any) -> Iterable[object]:
        monkeypatch.undo()
        yield from islice(whole(*arguments, **options), after)
        raise KeyboardInterrupt

    monkeypatch.setattr(captioner, "stream_batches", interrupted)


@pytest.mark.parametrize("suffix", ["txt", "jsonl", "csv", "json", "parquet"])
def test_the_same_call_goes_on_after_an_interruption_and_writes_the_same_bytes(
    tmp_path: Path,
    write_images: Write,
    captioner: Captioner,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    suffix: str,
) -> None:
    write_images(tmp_path / "in", [f"{number}.png" for number in range(5)])
    (tmp_path / "in" / "2.png").write_bytes(b"")
    form, out = choose_format(None, Path(f"a.{suffix}")), tmp_path / f"out.{suffix}"
    call = partial(caption_files, captioner, [tmp_path / "in"], form=form, batch_size=1)
    expected = call(output=tmp_path / f"undisturbed.{suffix}")
    out.write_text("old")
    for done in (2, 1):
        interrupt(monkeypatch, captioner, after=done)
        with pytest.raises(KeyboardInterrupt):
            call(output=out)
        assert out.read_text() == "old"
    told = capfd.readouterr().err
    assert f"2 captions are kept in {out}.parts: the same command resumes there" in told
    assert f"2 captions are in {out}.parts; resuming there" in told
    captioned = count_images(monkeypatch, captioner)
    assert call(output=out) == expected
    assert len(captioned) == 2
    assert out.read_bytes() == (tmp_path / f"undisturbed.{suffix}").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "in",
        f"out.{suffix}",
        f"undisturbed.{suffix}",
    ]


def count_images(monkeypatch: pytest.MonkeyPatch, captioner: Captioner) -> list[object]:
    """Return a list that grows by each image that is captioned."""
    seen: list[object] = []
    whole = captioner.stream_batches

    def counting(batches: Iterable[list[Any]], **options: Any) -> Iterable[object]:
        return whole((seen.extend(batch) or batch for batch in batches), **options)  # type: ignore[func-returns-value]

    monkeypatch.setattr(captioner, "stream_batches", counting)
    return seen


def test_images_that_come_or_go_later_do_not_shift_the_rest(
    tmp_path: Path, write_images: Write, captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "in", ["b.png", "c.png", "d.png"])
    interrupt(monkeypatch, captioner, after=1)
    with pytest.raises(KeyboardInterrupt):
        caption_files(captioner, [tmp_path / "in"], output=tmp_path / "out.jsonl", form="jsonl", batch_size=1)
    write_images(tmp_path / "in", ["a.png"])
    (tmp_path / "in" / "c.png").unlink()
    caption_files(captioner, [tmp_path / "in"], output=tmp_path / "out.jsonl", form="jsonl")
    rows = read(tmp_path / "out.jsonl")
    assert [Path(str(row["path"])).name for row in rows] == ["b.png", "c.png", "d.png"]
    assert ["error" in row for row in rows] == [False, True, False]


def test_unfinished_captions_of_another_command_are_neither_mixed_nor_lost(
    tmp_path: Path, write_images: Write, captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "in", ["a.png", "b.png"])
    out = tmp_path / "out.jsonl"
    call = partial(caption_files, captioner, [tmp_path / "in"], output=out, form="jsonl", batch_size=1)
    interrupt(monkeypatch, captioner, after=1)
    with pytest.raises(KeyboardInterrupt):
        call()
    with pytest.raises(
        DataError, match=r"of another command: found beam_size 3; expected beam_size 2\. .*--overwrite"
    ):
        call(beam_size=2)
    assert call(beam_size=2, overwrite=True).num_captioned == 2
    assert not (tmp_path / "out.jsonl.parts").exists()


def test_a_command_that_captioned_nothing_does_not_block_another(
    tmp_path: Path, write_images: Write, captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "in", ["a.png", "b.png"])
    out = tmp_path / "out.jsonl"
    call = partial(caption_files, captioner, [tmp_path / "in"], output=out, form="jsonl", batch_size=1)
    with pytest.raises(ConfigError, match="'required' cannot be used: found 'zebra'"):
        call(required="zebra")
    assert not (tmp_path / "out.jsonl.parts").exists()
    interrupt(monkeypatch, captioner, after=0)
    with pytest.raises(KeyboardInterrupt):
        call()
    assert (tmp_path / "out.jsonl.parts").exists()
    assert call(beam_size=2).num_captioned == 2


def test_parts_among_other_files_are_refused(
    tmp_path: Path, write_images: Write, captioner: Captioner
) -> None:
    write_images(tmp_path / "in", ["a.png"])
    write_images(tmp_path / "out.jsonl.parts", ["mine.png"])
    for overwrite in (False, True):
        with pytest.raises(DataError, match=r"cannot keep unfinished captions .* another file \(mine.png\)"):
            caption_files(captioner, [tmp_path / "in"], output=tmp_path / "out.jsonl", overwrite=overwrite)
    assert (tmp_path / "out.jsonl.parts" / "mine.png").exists()


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_part_that_is_damaged_or_gone_is_told_and_made_again(
    tmp_path: Path, write_images: Write, captioner: Captioner, monkeypatch: pytest.MonkeyPatch, is_gone: bool
) -> None:
    write_images(tmp_path / "in", ["a.png", "b.png", "c.png"])
    out = tmp_path / "out.jsonl"
    call = partial(caption_files, captioner, [tmp_path / "in"], form="jsonl", batch_size=1)
    call(output=tmp_path / "expected.jsonl")
    for _ in range(2):
        interrupt(monkeypatch, captioner, after=1)
        with pytest.raises(KeyboardInterrupt):
            call(output=out)
    part, _ = sorted((tmp_path / "out.jsonl.parts").glob("0*.jsonl"))
    if is_gone:
        part.unlink()
    else:
        part.write_bytes(part.read_bytes().replace(b'"path"', b'"pxth"'))
    found = r"no rows before 00000000-0000000001-" if is_gone else "other bytes than were written"
    with pytest.raises(DataError, match=rf"{found}.*\. Run the same command again"):
        call(output=out)
    call(output=out)
    assert out.read_bytes() == (tmp_path / "expected.jsonl").read_bytes()


def test_two_calls_never_write_one_output(
    tmp_path: Path, write_images: Write, captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "in", ["a.png"])
    out = tmp_path / "out.jsonl"
    whole = captioner.stream_batches

    def second(*arguments: Any, **options: Any) -> Iterable[object]:
        with pytest.raises(DataError, match=r"out\.jsonl\.parts is in use by another process"):
            caption_files(captioner, [tmp_path / "in"], output=out)
        return whole(*arguments, **options)

    monkeypatch.setattr(captioner, "stream_batches", second)
    assert caption_files(captioner, [tmp_path / "in"], output=out, form="jsonl").num_captioned == 1
    assert len(read(out)) == 1


def test_the_first_image_in_error_can_end_the_call(
    tmp_path: Path, write_images: Write, captioner: Captioner
) -> None:
    write_images(tmp_path / "in", ["a.png", "b.png", "c.png"])
    good = (tmp_path / "in" / "b.png").read_bytes()
    (tmp_path / "in" / "b.png").write_bytes(b"")
    call = partial(
        caption_files,
        captioner,
        [tmp_path / "in"],
        output=tmp_path / "out.jsonl",
        form="jsonl",
        on_error="fail",
    )
    with pytest.raises(DataError, match=r"b\.png: found an empty file.*--on-error skip"):
        call()
    (tmp_path / "in" / "b.png").write_bytes(good)
    assert call().num_captioned == 3


@pytest.mark.thorough
def test_problems_are_counted_by_kind_and_the_first_are_named(
    tmp_path: Path, write_images: Write, captioner: Captioner
) -> None:
    write_images(tmp_path, ["a.png"])
    for number in range(12):
        (tmp_path / f"empty{number}.png").touch()
    report = caption_files(captioner, [tmp_path, tmp_path / "none.png"], output=tmp_path / "out.txt")
    assert (report.num_captioned, report.num_failed, len(report.problems)) == (1, 13, 10)
    assert report.kinds == {"an empty file": 12, "no such file": 1}


def test_attention_is_drawn_one_png_a_picture(
    tmp_path: Path, captioner: Captioner, write_images: Write
) -> None:
    write_images(tmp_path / "in", ["a.png", "a.jpg", "sub/A.png"])
    (tmp_path / "in" / "bad.png").write_bytes(b"no")
    out, maps = tmp_path / "out.jsonl", tmp_path / "maps"
    caption_files(captioner, [tmp_path / "in"], output=out, form="jsonl", attention=maps, recursive=True)
    drawn = [row.get("attention") for row in read(out)]
    assert drawn == [
        str(maps / "a.attention.png"),
        str(maps / "a.attention-2.png"),
        None,
        str(maps / "A.attention-3.png"),
    ]
    for row in read(out):
        assert len(row.get("attention_entropy", [])) == len(row.get("words", []))
        assert ("words" in row) == ("attention" in row)
        assert all(value >= 0 for value in row.get("attention_entropy", []))
    names = sorted(path.name for path in maps.iterdir())
    assert names == ["A.attention-3.png", "a.attention-2.png", "a.attention.png"]
    with Image.open(maps / "a.attention.png") as sheet:
        assert np.asarray(sheet).std() > 10


def test_drawings_beside_the_pictures_leave_every_picture_as_it_is(
    tmp_path: Path, captioner: Captioner, write_images: Write
) -> None:
    write_images(tmp_path, ["a.png", "a.attention.png"])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    caption_files(captioner, [tmp_path], output=tmp_path / "out", attention=tmp_path)
    assert {path: path.read_bytes() for path in before} == before
    drawn = {path.name for path in tmp_path.iterdir()} - {path.name for path in before} - {"out"}
    assert drawn == {"a.attention-2.png", "a.attention.attention.png"}


def test_a_picture_that_is_gone_before_its_drawing_keeps_its_caption(
    tmp_path: Path, captioner: Captioner, write_images: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path, ["a.png", "b.png"])

    def gone(source: Path, **_: int) -> object:
        if source.name == "a.png":
            raise ImageError("cannot read a.png", found="no such file")
        return load_image(source)

    monkeypatch.setattr("showtell.inference.caption.load_image", gone)
    out = tmp_path / "out"
    report = caption_files(captioner, [tmp_path], output=out, form="jsonl", attention=tmp_path / "maps")
    assert ["attention" in row for row in read(out)] == [False, True]
    assert all(row["caption"] for row in read(out))
    assert report.problems == ["attention not drawn: cannot read a.png: found no such file"]


def test_a_name_that_the_system_refuses_is_one_bad_picture(
    tmp_path: Path, captioner: Captioner, write_images: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path, ["a.png"])
    is_dir = Path.is_dir

    def refused(self: Path) -> bool:
        if self.name == "closed.png":
            raise PermissionError(errno.EACCES, "Permission denied")
        return is_dir(self)

    monkeypatch.setattr(Path, "is_dir", refused)
    paths = [tmp_path / f"{'x' * 300}.png", tmp_path / "closed.png", tmp_path / "a.png"]
    report = caption_files(captioner, paths, output=tmp_path / "out")
    assert report.num_captioned == 1
    assert "File name too long" in report.problems[0]
    assert "closed.png" in report.problems[1]


def test_attention_of_a_decoder_without_it_is_refused(
    tmp_path: Path, write_images: Write, tiny_checkpoint: Callable[[str], Path]
) -> None:
    write_images(tmp_path, ["a.png"])
    blind = Captioner.load(tiny_checkpoint("lstm"), device="cpu")
    with pytest.raises(
        ConfigError, match="attention cannot be returned: found a decoder that does not attend"
    ):
        caption_files(blind, [tmp_path], output=tmp_path / "out", attention=tmp_path / "maps")


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX alone")
def test_a_name_that_is_no_unicode_is_captioned(
    tmp_path: Path, captioner: Captioner, write_images: Write
) -> None:
    write_images(tmp_path, ["a.png"])
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    (tmp_path / "a.png").rename(odd)
    out = tmp_path / "out"
    assert caption_files(captioner, [tmp_path], output=out, form="jsonl").num_captioned == 1
    assert read(out)[0]["path"] == str(odd)
    caption_files(captioner, [odd], output=out, form="csv")
    assert os.fsencode(odd) in out.read_bytes()
    assert io.BytesIO(out.read_bytes()).readline() == b"path,caption,score,error,confidence\n"
