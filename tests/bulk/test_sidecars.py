"""Side-cars: a file per image, whole or not there; what is in it is kept, replaced or added to."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from showtell.bulk.caption_files import caption_files
from showtell.bulk.dry_run import print_plan
from showtell.bulk.sidecars import OnExisting, Sidecars
from showtell.bulk.sources.listing import list_units
from showtell.errors import ConfigError, DataError
from showtell.inference.captioner import Captioner

Write = Callable[[Path, Iterable[str]], None]


@pytest.fixture(scope="module")
def captioner(tiny_checkpoint: Callable[[str], Path]) -> Captioner:
    return Captioner.load(tiny_checkpoint("attention"), device="cpu")


def caption(captioner: Captioner, *sources: Path, **options: Any) -> Any:
    """Caption into side-cars; the options are those of Sidecars and of caption_files."""
    of_sidecars = {name: options.pop(name) for name in ("suffix", "folder", "on_existing") if name in options}
    return caption_files(captioner, sources, output=Sidecars(sources, **of_sidecars), **options)


def texts(folder: Path, suffix: str = ".txt") -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes().decode() for path in folder.rglob(f"*{suffix}")
    }


def stop(monkeypatch: pytest.MonkeyPatch, captioner: Captioner, *, after: int) -> None:
    """Let the captioner's next stream end by Ctrl-C after some captions."""
    whole = captioner.stream_batches

    def stopped(*arguments: Any, **options: Any) -> Iterator[object]:
        monkeypatch.undo()
        yield from islice(whole(*arguments, **options), after)
        raise KeyboardInterrupt

    monkeypatch.setattr(captioner, "stream_batches", stopped)


def count_images(monkeypatch: pytest.MonkeyPatch, captioner: Captioner) -> list[Path]:
    """Return a list that grows by each image that is captioned."""
    captioned: list[Path] = []
    whole = captioner.stream_batches

    def counted(batches: Iterable[list[Any]], **options: Any) -> Iterable[object]:
        return whole((captioned.extend(batch) or batch for batch in batches), **options)  # type: ignore[func-returns-value]

    monkeypatch.setattr(captioner, "stream_batches", counted)
    return captioned


def test_each_image_gets_its_caption_beside_it(
    tmp_path: Path, write_images: Write, captioner: Captioner
) -> None:
    write_images(tmp_path, ["a.PNG", "b.c.jpg", "sub/a.png"])
    (tmp_path / "bad.png").write_bytes(b"")
    report = caption(captioner, tmp_path, recursive=True)
    expected = captioner.caption(tmp_path / "a.PNG").text
    assert texts(tmp_path).keys() == {"a.txt", "b.c.txt", "sub/a.txt"}
    assert texts(tmp_path)["a.txt"] == expected
    assert (report.num_captioned, report.num_failed) == (3, 1)


def test_prefix_suffix_and_all_hypotheses_are_lines(
    tmp_path: Path, write_images: Write, captioner: Captioner
) -> None:
    write_images(tmp_path, ["a.png"])
    options = {"all_hypotheses": True, "beam_size": 2}
    caption(captioner, tmp_path, suffix=".caption", **options)
    plain = texts(tmp_path, ".caption")["a.caption"].split("\n")
    assert len(plain) == 2
    sidecars = Sidecars([tmp_path])
    caption_files(captioner, [tmp_path], output=sidecars, prefix="ohwx, ", suffix=" (photo)", **options)
    assert texts(tmp_path)["a.txt"].split("\n") == [f"ohwx, {text} (photo)" for text in plain]


def test_what_has_text_is_skipped_and_what_is_empty_is_not(
    tmp_path: Path, write_images: Write, captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path, [f"{name}.png" for name in "abcd"])
    for name, content in {"a": b"mine", "b": b" \r\n", "c": b"\xef\xbb\xbf\n", "d": b"\xe9t\xe9"}.items():
        (tmp_path / f"{name}.txt").write_bytes(content)
    captioned = count_images(monkeypatch, captioner)
    assert caption(captioner, tmp_path).num_captioned == 2
    assert [path.name for path in captioned] == ["b.png", "c.png"]
    assert (tmp_path / "a.txt").read_bytes() == b"mine"
    assert (tmp_path / "d.txt").read_bytes() == b"\xe9t\xe9"
    assert caption(captioner, tmp_path).num_captioned == 0


@pytest.mark.parametrize(
    ("mode", "old", "expected"),
    [
        ("overwrite", b"\xe9 old", "NEW"),
        ("append", b"", "NEW"),
        ("append", b"old", "old\nNEW"),
        ("append", b"one\r\ntwo\r\n", "one\r\ntwo\r\nNEW"),
        ("append", b"\xef\xbb\xbfold\n", "old\nNEW"),
        ("append", "old é".encode("utf-16"), "old é\nNEW"),
        ("prepend", b"old\n", "NEW\nold\n"),
        ("prepend", b"one\r\ntwo", "NEW\r\none\r\ntwo"),
        ("append", b"old\nNEW\n", "old\nNEW\n"),
        ("prepend", b"NEW\r\nold", "NEW\r\nold"),
        ("prepend", b"NEW", "NEW"),
        ("append", b"BRAND NEW", "BRAND NEW\nNEW"),
        ("prepend", b"NEWER", "NEW\nNEWER"),
    ],
)
def test_text_is_replaced_or_added_to_by_whole_lines_and_only_once(
    tmp_path: Path, write_images: Write, captioner: Captioner, mode: OnExisting, old: bytes, expected: str
) -> None:
    write_images(tmp_path, ["a.png"])
    text = captioner.caption(tmp_path / "a.png").text
    (tmp_path / "a.txt").write_bytes(old.replace(b"NEW", text.encode()))
    for _ in range(2):
        caption(captioner, tmp_path, on_existing=mode)
        assert texts(tmp_path) == {"a.txt": expected.replace("NEW", text)}
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "a.txt"}


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\0", b"\xe9 no UTF-8"])
def test_a_sidecar_that_is_no_text_is_a_problem_and_stays(
    tmp_path: Path, write_images: Write, captioner: Captioner, content: bytes
) -> None:
    write_images(tmp_path, ["a.png", "b.png"])
    (tmp_path / "a.txt").write_bytes(content)
    report = caption(captioner, tmp_path, on_existing="append")
    assert (report.num_captioned, report.num_failed) == (1, 1)
    assert "a.txt" in report.problems[0]
    assert (tmp_path / "a.txt").read_bytes() == content


def test_images_of_one_sidecar_are_told_and_neither_is_written(
    tmp_path: Path, write_images: Write, captioner: Captioner
) -> None:
    write_images(tmp_path, ["a.jpg", "a.png", "B.jpg", "b.webp", "c.jpg", "d/a.jpg"])
    (tmp_path / "c.CR2").write_bytes(b"II*\0\x10\0\0\0CR\2\0")
    report = caption(captioner, tmp_path, tmp_path / "c.jpg", recursive=True)
    assert texts(tmp_path).keys() == {"c.txt", "d/a.txt"}
    assert report.num_captioned == 2
    assert report.kinds == {"other images with that side-car": 5}
    (problem,) = [problem for problem in report.problems if "for " + str(tmp_path / "a.jpg") in problem]
    assert problem == (
        f"cannot write {tmp_path / 'a.txt'} for {tmp_path / 'a.jpg'}: found other images with that side-car "
        "(a.png). Rename them, or use -o FILE"
    )


def test_a_folder_of_sidecars_has_the_tree_of_the_sources(
    tmp_path: Path, write_images: Write, captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path, ["in/a.png", "in/sub/deep/b.png", "single/c.png"])
    out = tmp_path / "out"
    caption(captioner, tmp_path / "in", tmp_path / "single" / "c.png", folder=out, recursive=True)
    assert texts(tmp_path).keys() == {"out/a.txt", "out/sub/deep/b.txt", "out/c.txt"}
    monkeypatch.chdir(tmp_path / "in")
    caption(captioner, Path("../single/c.png"), Path(), folder=Path("../relative"), recursive=True)
    assert texts(tmp_path / "relative").keys() == {"a.txt", "sub/deep/b.txt", "c.txt"}


def test_a_link_to_a_text_remains_one(tmp_path: Path, write_images: Write, captioner: Captioner) -> None:
    write_images(tmp_path / "in", ["a.png", "loop.png"])
    (tmp_path / "text").touch()
    (tmp_path / "in" / "a.txt").symlink_to(tmp_path / "text")
    (tmp_path / "in" / "loop.txt").symlink_to("loop.txt")
    (tmp_path / "in" / "sub").symlink_to(tmp_path / "in")
    report = caption(captioner, tmp_path / "in", recursive=True)
    assert (tmp_path / "in" / "a.txt").is_symlink()
    assert (tmp_path / "text").read_text()
    assert report.num_captioned == 1
    assert "loop.txt" in report.problems[0]


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX alone")
def test_odd_names_and_the_longest_ones(tmp_path: Path, write_images: Write, captioner: Captioner) -> None:
    write_images(tmp_path, ["a\nb.png", "c.png", f"{'x' * 251}.png"])
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    (tmp_path / "c.png").rename(odd)
    assert caption(captioner, tmp_path).num_captioned == 3
    assert (tmp_path / "a\nb.txt").read_text()
    assert odd.with_suffix(".txt").read_text()
    report = caption(captioner, tmp_path, suffix=".caption")
    assert report.num_captioned == 2
    assert "File name too long" in report.problems[0]


def test_a_folder_that_cannot_be_written_is_found_before_an_image_is_captioned(
    tmp_path: Path, write_images: Write, captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path, ["a/a.png", "b/b.png", "done/c.png"])
    (tmp_path / "done" / "c.txt").write_text("mine")
    captioned = count_images(monkeypatch, captioner)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name not in {"b", "done"})
    with pytest.raises(DataError, match=r"cannot write .*/b: found Permission denied"):
        caption(captioner, tmp_path, recursive=True)
    with pytest.raises(DataError, match=r"cannot write .*a\.png/new: found Not a directory"):
        caption(captioner, tmp_path / "a", folder=tmp_path / "a" / "a.png" / "new")
    assert captioned == []
    assert caption(captioner, tmp_path / "done").num_failed == 0


@pytest.mark.parametrize("mode", ["skip", "overwrite", "append", "prepend"])
def test_the_same_call_goes_on_after_an_interruption(
    tmp_path: Path,
    write_images: Write,
    captioner: Captioner,
    monkeypatch: pytest.MonkeyPatch,
    mode: OnExisting,
) -> None:
    names = [f"{number}.png" for number in range(5)]
    for folder in ("in", "expected"):
        write_images(tmp_path / folder, names)
        for number in range(5):
            (tmp_path / folder / f"{number}.txt").write_text("" if mode == "skip" else "old")
    call = partial(caption, captioner, batch_size=1, on_existing=mode)
    call(tmp_path / "expected")
    stop(monkeypatch, captioner, after=2)
    with pytest.raises(KeyboardInterrupt):
        call(tmp_path / "in")
    assert sum(text not in {"", "old"} for text in texts(tmp_path / "in").values()) == 2
    captioned = count_images(monkeypatch, captioner)
    call(tmp_path / "in")
    assert [path.name for path in captioned] == names[2:]
    assert texts(tmp_path / "in") == texts(tmp_path / "expected")
    assert {path.suffix for path in (tmp_path / "in").iterdir()} == {".png", ".txt"}


def test_the_record_of_another_call_is_no_obstacle(
    tmp_path: Path, write_images: Write, captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path, ["a.png", "b.png"])
    stop(monkeypatch, captioner, after=1)
    with pytest.raises(KeyboardInterrupt):
        caption(captioner, tmp_path, on_existing="overwrite", batch_size=1)
    assert caption(captioner, tmp_path, on_existing="overwrite", beam_size=2).num_captioned == 2
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "b.png", "a.txt", "b.txt"}


def test_a_text_that_another_process_writes_meanwhile_is_kept(
    tmp_path: Path, write_images: Write, captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path, ["a.png"])
    whole = captioner.stream_batches

    def slow(*arguments: Any, **options: Any) -> Iterator[object]:
        (tmp_path / "a.txt").write_text("theirs")
        return whole(*arguments, **options)

    monkeypatch.setattr(captioner, "stream_batches", slow)
    caption(captioner, tmp_path)
    assert texts(tmp_path) == {"a.txt": "theirs"}


def test_a_full_disk_ends_the_call_and_leaves_the_old_text(
    tmp_path: Path, write_images: Write, captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path, ["a.png", "b.png"])
    (tmp_path / "a.txt").write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DataError, match="No space left"):
            caption(captioner, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "b.png", "a.txt"}


_WRITER = """
import sys
from pathlib import Path
from showtell.system.atomic import atomic_path
with atomic_path(Path(sys.argv[1])) as path:
    path.write_text("half")
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_writer_left_is_deleted_and_what_a_running_one_writes_is_not(
    tmp_path: Path, write_images: Write, captioner: Captioner
) -> None:
    write_images(tmp_path, ["a.png", "b.png"])
    (tmp_path / ".mine.txt.tmp").touch()
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, tmp_path / name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for name in ("a.txt", "c.txt")
    ]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
    writers[0].kill()
    writers[0].communicate()
    caption(captioner, tmp_path)
    (leftover,) = (path.name for path in tmp_path.glob(".[a-c].txt.*"))
    assert leftover.startswith(".c.txt.")
    assert (tmp_path / ".mine.txt.tmp").exists()
    writers[1].communicate()
    assert (tmp_path / "c.txt").read_text() == "half"


@pytest.mark.parametrize("suffix", ["txt", ".JPG", ".mov", ".", "", ".t/x", ".json"])
def test_suffixes_of_other_files_are_refused(suffix: str) -> None:
    with pytest.raises(ConfigError, match=r"--sidecar .* cannot be used: found .* suffix"):
        Sidecars([], suffix)


def test_images_in_a_shard_have_no_sidecars(
    tmp_path: Path, write_images: Write, captioner: Captioner
) -> None:
    write_images(tmp_path, ["a.png"])
    shard = tmp_path / "s.tar"
    with tarfile.open(shard, "w") as archive:
        archive.add(tmp_path / "a.png", "a.png")
    with pytest.raises(
        ConfigError, match=r"images that are no files of their own, in .*s\.tar\. Use -o FILE"
    ):
        caption(captioner, shard)


def test_only_files_that_are_no_sidecars_are_noted_as_left_out(
    tmp_path: Path, write_images: Write, captioner: Captioner, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path, ["a.png"])
    (tmp_path / "film.mov").touch()
    for _ in range(2):
        capsys.readouterr()
        caption(captioner, tmp_path)
        assert "files left out, no images: 1 (1 MOV)" in capsys.readouterr().err


def test_drawings_are_refused(tmp_path: Path, write_images: Write, captioner: Captioner) -> None:
    write_images(tmp_path, ["a.png"])
    with pytest.raises(ConfigError, match="--attention cannot be used with side-cars"):
        caption(captioner, tmp_path, attention=tmp_path / "maps")


def test_a_dry_run_names_what_would_be_done(
    tmp_path: Path, write_images: Write, captioner: Captioner, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path, ["a.png", "b.png", "c.jpg", "c.png"])
    (tmp_path / "b.txt").write_text("mine")
    before = sorted(tmp_path.iterdir())
    report = print_plan(list_units([tmp_path]), Sidecars([tmp_path]))
    captured = capsys.readouterr()
    assert [line.split("\t")[0] for line in captured.out.splitlines()] == ["caption", "skip", "fail", "fail"]
    assert captured.out.splitlines()[0] == f"caption\t{tmp_path / 'a.png'}\t{tmp_path / 'a.txt'}"
    assert "would caption 1 images and skip 1" in captured.err
    assert (report.num_captioned, report.num_failed) == (1, 2)
    assert sorted(tmp_path.iterdir()) == before


def test_a_dry_run_of_one_output_counts_what_is_unfinished(
    tmp_path: Path,
    write_images: Write,
    captioner: Captioner,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_images(tmp_path / "in", ["a.png", "b.png"])
    out = tmp_path / "out.jsonl"
    stop(monkeypatch, captioner, after=1)
    with pytest.raises(KeyboardInterrupt):
        caption_files(captioner, [tmp_path / "in"], output=out, batch_size=1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    capsys.readouterr()
    print_plan(list_units([tmp_path / "in"]), out)
    assert f"would caption 2 images, of which 1 are in {out}.parts, into {out}\n" in capsys.readouterr().err
    print_plan(list_units([tmp_path / "in"]), None)
    assert "would caption 2 images\n" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
