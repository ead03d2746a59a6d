"""Flickr30k in the three forms it goes about in, each as published."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from showtell.data.prepared import prepare
from showtell.data.sources.base import Problem, Source
from showtell.data.sources.registry import open_source
from showtell.errors import DataError

WritePictures = Callable[[Path, Iterable[str]], None]
NAMES = ["1000092795.jpg", "10002456.jpg", "2199200615.jpg"]
BROKEN = "2199200615.jpg| 4   A dog runs across the grass ."


def contents(source: Source) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(example.key, example.split, example.captions) for example in source.examples]


@pytest.fixture
def tokens(tmp_path: Path, write_jpegs: WritePictures) -> Path:
    write_jpegs(tmp_path / "flickr30k-images", NAMES)
    lines = [f"{name}#{number}\tTwo men , {number} ." for name in NAMES for number in range(2)]
    (tmp_path / "results_20130124.token").write_text("\n".join(lines) + "\n")
    (tmp_path / "readme.txt").write_text("Flickr30k")
    return tmp_path


@pytest.fixture
def kaggle(tmp_path: Path, write_jpegs: WritePictures) -> Path:
    """As it is unpacked: the pictures in a folder of the folder's name, the table beside that."""
    folder = tmp_path / "flickr30k_images"
    write_jpegs(folder / "flickr30k_images", NAMES)
    lines = ["image_name| comment_number| comment"]
    lines += [f'{name}| {number}| He says " {number} .' for name in NAMES for number in range(2)]
    (folder / "results.csv").write_text("\n".join([*lines, BROKEN]) + "\n")
    return tmp_path


@pytest.fixture
def annotations(tmp_path: Path, write_jpegs: WritePictures) -> Path:
    write_jpegs(tmp_path / "flickr30k-images", NAMES)
    lines = ["raw,sentids,split,filename,img_id"]
    for number, (name, split) in enumerate(zip(NAMES, ("train", "val", "test"), strict=True)):
        raw = json.dumps([f'A "big" dog, {number}.', "Two\nlines."]).replace('"', '""')
        lines.append(f'"{raw}","[{2 * number}, {2 * number + 1}]",{split},{name},{number}')
    (tmp_path / "flickr_annotations_30k.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.parametrize("format", [None, "flickr30k"])
@pytest.mark.parametrize("name", ["", "results_20130124.token"])
def test_the_token_file_is_recognized_and_read(tokens: Path, name: str, format: str | None) -> None:
    source = open_source(tokens / name, format)
    assert source.name == "flickr30k"
    assert source.problems == []
    assert contents(source) == [(name, "", ("Two men , 0 .", "Two men , 1 .")) for name in NAMES]
    assert source.examples[0].image == tokens / "flickr30k-images" / NAMES[0]


def test_the_token_files_warts_are_reported(tokens: Path) -> None:
    file = tokens / "results_20130124.token"
    text = (
        "no tab\r\n" + file.read_text().replace("\n", "\r\n") + f"{NAMES[0]}#2\t \r\ngone.jpg#0\tGone .\r\n"
    )
    file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    prepared = prepare(tokens, tokens / "set", max_problem_fraction=1.0, dev_fraction=0.3)
    assert prepared.keys == NAMES
    assert prepared.captions(0) == ["Two men , 0 .", "Two men , 1 ."]
    problems = {"missing-image": 1, "empty-caption": 1, "unreadable-line": 1}
    assert prepared.manifest["problems"] == problems


@pytest.mark.parametrize("format", [None, "flickr30k-kaggle"])
@pytest.mark.parametrize("name", ["", "flickr30k_images", "flickr30k_images/results.csv"])
def test_kaggles_table_is_recognized_and_read(kaggle: Path, name: str, format: str | None) -> None:
    source = open_source(kaggle / name, format)
    assert source.name == "flickr30k-kaggle"
    assert source.problems == []
    said = ('He says " 0 .', 'He says " 1 .')
    assert contents(source) == [
        (NAMES[0], "", said),
        (NAMES[1], "", said),
        (NAMES[2], "", (*said, "A dog runs across the grass .")),
    ]
    assert source.examples[0].image == kaggle / "flickr30k_images" / "flickr30k_images" / NAMES[0]


def test_the_line_without_its_second_bar_is_read_and_mentioned(kaggle: Path) -> None:
    notes = ["1 lines of results.csv lack their second bar; they were read"]
    assert open_source(kaggle).notes == notes
    table = kaggle / "flickr30k_images" / "results.csv"
    table.write_text(table.read_text().replace("| 4   A dog", "| 4| A dog"))
    assert open_source(kaggle).notes == []


def test_kaggles_warts_are_reported(kaggle: Path) -> None:
    table = kaggle / "flickr30k_images" / "results.csv"
    lines = [*table.read_text().splitlines(), "", "no bar", f"{NAMES[0]}| 5| One | two .", f"{NAMES[0]}| 6| "]
    table.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    source = open_source(kaggle)
    assert source.problems == [
        Problem("unreadable-line", "results.csv:10", "'no bar' is not NAME| NUMBER| CAPTION")
    ]
    assert contents(source)[0][2][2:] == ("One | two .", "")


@pytest.mark.parametrize("format", [None, "flickr30k-csv"])
@pytest.mark.parametrize("name", ["", "flickr_annotations_30k.csv"])
def test_hugging_faces_table_is_recognized_and_read(annotations: Path, name: str, format: str | None) -> None:
    source = open_source(annotations / name, format)
    assert source.name == "flickr30k-csv"
    assert source.problems == []
    assert contents(source) == [
        (name, split, (f'A "big" dog, {number}.', "Two\nlines."))
        for number, (name, split) in enumerate(zip(NAMES, ("train", "val", "test"), strict=True))
    ]
    assert source.examples[2].image == annotations / "flickr30k-images" / NAMES[2]


def test_hugging_faces_tables_warts_are_reported(annotations: Path) -> None:
    table = annotations / "flickr_annotations_30k.csv"
    rows = ["not JSON,[0],train,a.jpg,3", '"[1]",[0],train,b.jpg,4', '"[""A dog.""]",[0],train,,5', "x", ""]
    content = table.read_text() + "\n".join(rows)
    table.write_bytes(b"\xef\xbb\xbf" + content.replace("\n", "\r\n").encode())
    source = open_source(annotations)
    assert len(contents(source)) == 3
    assert [(problem.key, problem.detail[:25]) for problem in source.problems] == [
        ("flickr_annotations_30k.csv:5", "raw is not a JSON list: E"),
        ("flickr_annotations_30k.csv:6", "raw is not a list of text"),
        ("flickr_annotations_30k.csv:7", "no filename"),
        ("flickr_annotations_30k.csv:8", "raw is not a JSON list: E"),
    ]


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "flickr_annotations_30k.csv").write_text("raw,img_id\n[],0\n")
    with pytest.raises(DataError, match="found raw, img_id; expected the columns raw, split, filename"):
        open_source(tmp_path)


@pytest.mark.parametrize("name", ["tokens", "kaggle", "annotations"])
def test_a_set_without_its_images_names_the_folders(name: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(name)
    for picture in folder.rglob("*.jpg"):
        picture.unlink()
    for place in ("flickr30k-images", "flickr30k_images/flickr30k_images"):
        if (folder / place).is_dir():
            (folder / place).rmdir()
    with pytest.raises(DataError, match=r"no image folder in .*: expected one of flickr30k-images, "):
        open_source(folder)
