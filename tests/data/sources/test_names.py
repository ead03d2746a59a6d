"""Names that a table writes otherwise than the disk: the exact name first, then slashes, then the other form."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from showtell.data.sources.base import Problem
from showtell.data.sources.files import ImageIndex
from showtell.data.sources.names import BACKSLASHES, UNICODE_FORM, NameMatcher
from showtell.data.sources.registry import open_source


@pytest.mark.parametrize(
    ("on_disk", "written", "way"),
    [
        ("img/03.png", "img\\03.png", BACKSLASHES),
        ("img/03.png", ".\\img\\03.png", BACKSLASHES),
        ("Grüße/ä.png", "Grüße\\ä.png", BACKSLASHES),
        (unicodedata.normalize("NFD", "Grüße/ä 3.png"), "Grüße/ä 3.png", UNICODE_FORM),
        ("한국/ä.png", unicodedata.normalize("NFD", "한국/ä.png"), UNICODE_FORM),
        (
            "한국/" + unicodedata.normalize("NFD", "ä.png"),
            unicodedata.normalize("NFD", "한국/") + "ä.png",
            UNICODE_FORM,
        ),
        (unicodedata.normalize("NFD", "Grüße/ä.png"), "Grüße\\ä.png", UNICODE_FORM),
    ],
)
def test_the_file_of_another_way_to_write_its_name_is_found(
    tmp_path: Path, on_disk: str, written: str, way: str
) -> None:
    (tmp_path / on_disk).parent.mkdir()
    (tmp_path / on_disk).touch()
    matcher = NameMatcher()
    assert [matcher.match(tmp_path, written) for _ in range(2)] == [on_disk] * 2
    assert matcher.notes == [f"2 names are {way}"]
    assert matcher.match(Path("/"), str(tmp_path / written)) == str(tmp_path / on_disk)


def test_the_exact_name_is_first_and_a_missing_file_keeps_its_name(tmp_path: Path) -> None:
    composed, decomposed = "ä.png", unicodedata.normalize("NFD", "ä.png")
    for name in ("a\\b.png", composed, decomposed):
        (tmp_path / name).touch()
    matcher = NameMatcher()
    for name in (
        "a\\b.png",
        composed,
        decomposed,
        "c\\d.png",
        "ö.png",
        "x" * 5_000 + "ä",
        "gone/ä.png",
        "\0ä",
    ):
        assert matcher.match(tmp_path, name) == name
    assert matcher.notes == []


def test_a_table_with_both_says_so_once_each(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    for name in ("a.png", "b.png", unicodedata.normalize("NFD", "ü.png")):
        (tmp_path / "img" / name).touch()
    lines = [
        "image,caption",
        "img\\a.png,A dog.",
        "img\\b.png,A cat.",
        "img/a.png,Again.",
        "img/ü.png,A cow.",
    ]
    (tmp_path / "set.csv").write_text("\n".join([*lines, "img\\gone.png,Gone."]), encoding="utf-8")
    source = open_source(tmp_path / "set.csv")
    assert [(example.key, example.captions) for example in source.examples] == [
        ("img/a.png", ("A dog.", "Again.")),
        ("img/b.png", ("A cat.",)),
        (unicodedata.normalize("NFD", "img/ü.png"), ("A cow.",)),
        ("img\\gone.png", ("Gone.",)),
    ]
    assert source.notes == [f"2 names are {BACKSLASHES}", f"1 names are {UNICODE_FORM}"]


def test_images_of_an_imagefolder_with_backslashes_are_not_reported_as_unmentioned(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "a.png").touch()
    (tmp_path / "img" / "b.png").touch()
    (tmp_path / "metadata.csv").write_text("file_name,text\nimg\\a.png,A dog.\n")
    source = open_source(tmp_path)
    assert source.problems == [Problem("no-captions", "img/b.png", "in no metadata file")]


def test_an_index_of_folders_finds_names_with_backslashes(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "a.png").touch()
    index = ImageIndex([tmp_path])
    assert index.find(["img\\a.png"]) == tmp_path / "img" / "a.png"
    assert (index.num_found, index.notes) == (1, [f"1 names are {BACKSLASHES}"])
