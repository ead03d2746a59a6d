"""A folder's images are all found: by suffix, else by their first bytes; the number of other files is known."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from showtell.images.listing import describe_suffixes, list_images


def write(folder: Path, *names: str, content: bytes = b"anything") -> None:
    for name in names:
        (folder / name).write_bytes(content)


def test_images_that_are_not_read_are_listed_too(tmp_path: Path) -> None:
    names = [
        "a.jpg",
        "b.HEIC",
        "c.hif",
        "d.avif",
        "e.jxl",
        "f.jp2",
        "g.CR2",
        "h.nef",
        "i.dng",
        "j.svg",
        "k.psd",
    ]
    write(tmp_path, *names)
    left_out: Counter[str] = Counter()
    found, problems = list_images([tmp_path], left_out=left_out)
    assert [path.name for path in found] == names
    assert problems == []
    assert not left_out


def test_files_of_unknown_suffix_are_known_by_their_first_bytes(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "photo", "JPEG")
    Image.new("RGB", (9, 9)).save(tmp_path / "photo.jpg_large", "PNG")
    write(tmp_path, "heic.bak", content=b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    write(tmp_path, "README", "page.part", content=b"<html>")
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer
    left_out: Counter[str] = Counter()
    found, _ = list_images([tmp_path], left_out=left_out)
    assert [path.name for path in found] == ["heic.bak", "photo", "photo.jpg_large"]
    assert left_out == {"": 2, "PART": 1}


@pytest.mark.parametrize("recursive", [False, True])
def test_a_broken_link_costs_only_itself(tmp_path: Path, recursive: bool) -> None:
    write(tmp_path, "a.jpg")
    for name, target in (("circle", "circle"), ("circle.png", "circle.png"), ("nowhere.old", "missing")):
        (tmp_path / name).symlink_to(target)
    left_out: Counter[str] = Counter()
    found, problems = list_images([tmp_path], recursive=recursive, left_out=left_out)
    assert [path.name for path in found] == ["a.jpg", "circle.png"]  # loading the second reports it
    assert problems == []
    assert left_out == {"": 1, "OLD": 1}


@pytest.mark.parametrize("recursive", [False, True])
def test_other_files_are_counted(tmp_path: Path, recursive: bool) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path, "a.jpg", "a.txt", "b.MOV", "c.mov", ".DS_Store", "captions.json", "sub/d.mov")
    left_out: Counter[str] = Counter()
    list_images([tmp_path], recursive=recursive, left_out=left_out)
    assert left_out == {"TXT": 1, "MOV": 2 + recursive, "JSON": 1}


def test_known_suffixes_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a.jpg", "b.mov", "c.txt")
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("opened"))
    assert len(list_images([tmp_path])[0]) == 1


def test_a_folder_without_images_says_what_is_in_it(tmp_path: Path) -> None:
    write(tmp_path, "a.mov", "b.mov", "c.txt")
    found, problems = list_images([tmp_path], recursive=True)
    assert not found
    assert problems == [f"cannot read {tmp_path}: found a folder without images (2 MOV, 1 TXT)"]


def test_rare_suffixes_are_summed_up() -> None:
    counts = Counter({letter: 20 - place for place, letter in enumerate("ABCDEFGH")})
    assert describe_suffixes(counts) == "20 A, 19 B, 18 C, 17 D, 16 E, 15 F, 27 others"
    assert describe_suffixes(Counter({"": 1})) == "1 without a suffix"


def test_a_folder_of_very_many_is_in_the_same_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["p10.jpg", "p2.jpg", "P1.jpg", "p02.jpg", "é.jpg", "a b.jpg", os.fsdecode(b"\xff.jpg"), "z.jpg"]
    write(tmp_path, *names)
    (tmp_path / "p3").mkdir()
    write(tmp_path / "p3", "b.jpg", "a.jpg")
    expected = list(list_images([tmp_path], recursive=True)[0])
    monkeypatch.setattr("showtell.system.disk_store.SORTED_IN_MEMORY", 2)
    assert list(list_images([tmp_path], recursive=True)[0]) == expected
    assert [path.name for path in expected][:3] == ["a b.jpg", "P1.jpg", "p02.jpg"]
