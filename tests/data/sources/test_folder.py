"""Folders of images with a text beside each: which text belongs to which image, and how many captions it has."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from showtell.data.sources.base import Problem, Source
from showtell.data.sources.registry import open_source

WritePictures = Callable[[Path, Iterable[str]], None]


def contents(source: Source) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(example.key, example.split, example.captions) for example in source.examples]


def test_a_folder_with_texts_beside_images_is_read_at_any_depth(
    tmp_path: Path, write_images: WritePictures
) -> None:
    write_images(tmp_path, ["b.JPG", "deep/er/a.png", "lonely.webp", ".hidden.png", "__MACOSX/x.png"])
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbfA dog.\r\n\r\n  A cat.\r\n")
    (tmp_path / "deep/er/a.txt").write_text("Été 犬.")
    (tmp_path / "orphan.txt").write_text("No picture.")
    (tmp_path / "notes.md").write_text("no caption file")
    source = open_source(tmp_path)
    assert source.name == "folder"
    assert contents(source) == [("b.JPG", "", ("A dog.", "  A cat.")), ("deep/er/a.png", "", ("Été 犬.",))]
    assert source.problems == [
        Problem("no-captions", "lonely.webp", "no lonely.txt beside it"),
        Problem("captions-without-image", "orphan.txt", "no image of this name beside it"),
    ]


def test_one_unreadable_text_does_not_cost_the_folder(tmp_path: Path, write_images: WritePictures) -> None:
    write_images(tmp_path, ["a.png", "b.png"])
    (tmp_path / "a.txt").write_bytes(b"\xff\xff")
    (tmp_path / "b.txt").write_text("Fine.")
    source = open_source(tmp_path)
    assert contents(source) == [("b.png", "", ("Fine.",))]
    assert [(problem.kind, problem.key) for problem in source.problems] == [("unreadable-line", "a.txt")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lines_may_end_in_any_way_and_encoding(
    tmp_path: Path, write_images: WritePictures, end: str, encoding: str
) -> None:
    write_images(tmp_path, ["a.png"])
    (tmp_path / "a.txt").write_bytes(end.join(["Ein Hund.", "Grüße\u2028dort.", ""]).encode(encoding))
    assert contents(open_source(tmp_path)) == [("a.png", "", ("Ein Hund.", "Grüße\u2028dort."))]


def test_a_text_of_another_encoding_without_a_mark_is_reported(
    tmp_path: Path, write_images: WritePictures
) -> None:
    write_images(tmp_path, ["a.png"])
    (tmp_path / "a.txt").write_bytes("A dog.".encode("utf-16-le"))
    [problem] = open_source(tmp_path).problems
    assert (problem.kind, problem.key) == ("unreadable-line", "a.txt")
    assert "found NUL characters; expected UTF-8" in problem.detail


def test_the_ending_of_a_text_is_read_in_any_case(tmp_path: Path, write_images: WritePictures) -> None:
    write_images(tmp_path, ["A.JPG", "b.png"])
    (tmp_path / "A.TXT").write_text("A dog.")
    (tmp_path / "b.png.Txt").write_text("A cat.")
    source = open_source(tmp_path)
    assert contents(source) == [("A.JPG", "", ("A dog.",)), ("b.png", "", ("A cat.",))]
    assert source.problems == []


def test_a_text_of_several_images_is_a_problem(tmp_path: Path, write_images: WritePictures) -> None:
    write_images(tmp_path, ["x/04.jpg", "x/04.png", "x/04.webp", "x/05.jpg", "x/05.png", "x/050.png"])
    for name in ("04.txt", "05.png.txt", "05.txt", "050.txt"):
        (tmp_path / "x" / name).write_text(name)
    source = open_source(tmp_path)
    assert contents(source) == [
        ("x/05.jpg", "", ("05.txt",)),
        ("x/05.png", "", ("05.png.txt",)),
        ("x/050.png", "", ("050.txt",)),
    ]
    detail = "04.jpg, 04.png and 04.webp share 04.txt; call the texts 04.jpg.txt, 04.png.txt, ..."
    assert source.problems == [Problem("shared-captions", "x/04.txt", detail)]


def test_a_text_that_no_image_uses_is_reported(tmp_path: Path, write_images: WritePictures) -> None:
    write_images(tmp_path, ["a.png"])
    for name in ("a.txt", "a.png.txt"):
        (tmp_path / name).write_text(name)
    source = open_source(tmp_path)
    assert contents(source) == [("a.png", "", ("a.png.txt",))]
    assert source.problems == [Problem("captions-without-image", "a.txt", "no image of this name beside it")]


def test_texts_about_the_set_are_no_captions(tmp_path: Path, write_images: WritePictures) -> None:
    write_images(tmp_path, ["a.png", "x/license.png"])
    for name in ("a.txt", "README.txt", "x/license.txt", "x/Licence.txt"):
        (tmp_path / name).write_text(name)
    source = open_source(tmp_path)
    assert contents(source) == [("a.png", "", ("a.txt",)), ("x/license.png", "", ("x/license.txt",))]
    assert source.problems == []
    assert source.notes == ["left out, about the set: README.txt", "left out, about the set: x/Licence.txt"]


@pytest.mark.parametrize(
    ("metadata", "captions"),
    [
        ('{"caption": "First line\\nsecond line", "status": "success"}', ("First line\nsecond line",)),
        ('{"caption": "First line second line"}', ("First line\nsecond line",)),
        ('{"caption": "Another."}', ("First line", "second line")),
        ("[]", ("First line", "second line")),
        ("no JSON", ("First line", "second line")),
    ],
)
def test_a_text_of_img2dataset_is_one_caption(
    tmp_path: Path, write_images: WritePictures, metadata: str, captions: tuple[str, ...]
) -> None:
    write_images(tmp_path, ["00000/0.jpg"])
    (tmp_path / "00000/0.txt").write_text("First line\nsecond line")
    (tmp_path / "00000/0.json").write_text(metadata)
    stats = {"count": 8, "successes": 6, "failed_to_download": 1, "failed_to_resize": 1}
    (tmp_path / "00000_stats.json").write_text(json.dumps(stats))
    (tmp_path / "other_stats.json").write_text("[1]")
    pq.write_table(pa.table({"caption": ["First line\nsecond line"]}), tmp_path / "00000.parquet")
    source = open_source(tmp_path)
    assert source.name == "folder"
    assert contents(source) == [("00000/0.jpg", "", captions)]
    assert source.notes == [
        "2 rows are failed downloads and have no image (failed_to_download 1, failed_to_resize 1)"
    ]


def test_files_that_are_no_images_are_counted(tmp_path: Path, write_images: WritePictures) -> None:
    write_images(tmp_path, ["a.png"])
    (tmp_path / "a.txt").write_text("a dog")
    for name in ("b.mov", "c.MOV", "d.xmp", "e.json"):
        (tmp_path / name).write_bytes(b"")
    source = open_source(tmp_path)
    assert (len(list(source.examples)), source.problems) == (1, [])
    assert source.notes == ["files left out, no images: 3 (2 MOV, 1 XMP)"]


def test_caption_files_are_read_before_texts_of_tags(tmp_path: Path, write_images: WritePictures) -> None:
    write_images(tmp_path, ["a.jpg", "b.jpg", "c.jpg"])
    for name, text in (
        ("a.caption", "A dog."),
        ("a.txt", "dog, grass"),
        ("b.CAPTION", "B."),
        ("c.txt", "C."),
    ):
        (tmp_path / name).write_text(text)
    source = open_source(tmp_path)
    assert [example.captions for example in source.examples] == [("A dog.",), ("B.",), ("C.",)]
    assert source.problems == []
    assert source.notes == ["1 texts were left out: another has the same name (.caption before .txt)"]


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("train", "val"), ["train", "val"]),
        (("train", "dog"), ["", ""]),
        (("train", "train/more"), ["", ""]),
    ],
)
def test_folders_of_several_splits_are_splits(
    tmp_path: Path, write_images: WritePictures, folders: tuple[str, ...], splits: list[str]
) -> None:
    for folder in folders:
        write_images(tmp_path / folder, [f"{folder[-1]}.jpg"])
        (tmp_path / folder / f"{folder[-1]}.txt").write_text("A dog.")
    source = open_source(tmp_path)
    assert source.name == "folder"
    assert sorted(example.split for example in source.examples) == splits


@pytest.mark.parametrize(
    ("image", "text"),
    [("Gr\u00fcn.jpg", "Gru\u0308n.txt"), ("IMG_1.JPG", "img_1.txt"), ("B.jpg", "b.JPG.txt")],
)
def test_a_text_may_have_its_name_in_another_case_or_unicode_form(
    tmp_path: Path, write_images: WritePictures, image: str, text: str
) -> None:
    write_images(tmp_path, [image, "own.jpg", "OWN.jpg"])
    (tmp_path / text).write_text("A dog.")
    (tmp_path / "own.txt").write_text("A cat.")
    (tmp_path / "OWN.txt").write_text("A cow.")
    source = open_source(tmp_path)
    assert sorted(contents(source)) == sorted(
        [(image, "", ("A dog.",)), ("OWN.jpg", "", ("A cow.",)), ("own.jpg", "", ("A cat.",))]
    )
    assert source.problems == []


def test_two_images_that_differ_in_case_do_not_share_a_text(
    tmp_path: Path, write_images: WritePictures
) -> None:
    write_images(tmp_path, ["A.jpg", "a.png", "b.jpg"])
    (tmp_path / "A.TXT").write_text("A dog.")
    (tmp_path / "b.txt").write_text("A cat.")
    source = open_source(tmp_path)
    assert contents(source) == [("A.jpg", "", ("A dog.",)), ("b.jpg", "", ("A cat.",))]
    assert [(problem.kind, problem.key) for problem in source.problems] == [("no-captions", "a.png")]


@pytest.mark.parametrize("pattern", ["{}2017", "{}_set", "images/{}-images"])
def test_folders_of_splits_have_other_words_in_their_names(
    tmp_path: Path, write_images: WritePictures, pattern: str
) -> None:
    for split in ("train", "val"):
        folder = tmp_path / pattern.format(split)
        write_images(folder, [f"{split}.jpg"])
        (folder / f"{split}.txt").write_text("A dog.")
    assert sorted(example.split for example in open_source(tmp_path).examples) == ["train", "val"]


def test_linked_folders_are_read_once(tmp_path: Path, write_images: WritePictures) -> None:
    write_images(tmp_path / "elsewhere", ["a.jpg"])
    (tmp_path / "elsewhere" / "a.txt").write_text("A dog.")
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("first", "second"):
        (folder / name).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(folder)
    assert contents(open_source(folder)) == [("first/a.jpg", "", ("A dog.",))]
