"""A caption a line after the name of its image: Flickr8k-CN, COCO-CN and ROCO in their published forms."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from showtell.data.sources.base import Problem, Source
from showtell.data.sources.registry import open_source
from showtell.errors import DataError

WritePictures = Callable[[Path, Iterable[str]], None]


def contents(source: Source) -> list[tuple[str, str, tuple[str, ...]]]:
    assert source.name == "caption-list"
    return [(example.key, example.split, example.captions) for example in source.examples]


@pytest.fixture
def flickr8kcn(tmp_path: Path, write_images: WritePictures) -> Path:
    """Four images with two captions each, in no order, one of them in no list."""
    names = [f"{number}_ab.jpg" for number in range(4)]
    write_images(tmp_path / "Flicker8k_Dataset", names)
    lines = [f"{name}#zhc#{number} {name[0]} 一只狗 {number}。" for number in (0, 1) for name in names]
    (tmp_path / "flickr8kzhc.caption.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for split, name in (("train", "0_ab"), ("val", "1_ab"), ("test", "2_ab")):
        (tmp_path / f"flickr8k{split}.txt").write_text(f"{name}\n\n")
    return tmp_path


@pytest.mark.parametrize("name", ["", "flickr8kzhc.caption.txt"])
def test_flickr8k_cn(flickr8kcn: Path, name: str) -> None:
    source = open_source(flickr8kcn / name)
    assert contents(source) == [
        (f"{number}_ab.jpg", split, (f"{number} 一只狗 0。", f"{number} 一只狗 1。"))
        for number, split in enumerate(("train", "dev", "test"))
    ]
    assert source.examples[0].image == flickr8kcn / "Flicker8k_Dataset" / "0_ab.jpg"
    assert source.notes == ["1 images are in no split list and were left out"]
    assert source.problems == []


def test_of_several_texts_one_must_be_given(flickr8kcn: Path) -> None:
    text = (flickr8kcn / "flickr8kzhc.caption.txt").read_text(encoding="utf-8")
    (flickr8kcn / "flickr8kzhb.caption.txt").write_text(text.replace("#zhc", "#zhb"), encoding="utf-8")
    with pytest.raises(DataError, match=r"contains several datasets: found .*zhb.*, .*zhc.*Give one file"):
        open_source(flickr8kcn)
    assert len(open_source(flickr8kcn / "flickr8kzhb.caption.txt").examples) == 3


def test_a_list_of_the_names_of_others_is_passed_over(flickr8kcn: Path) -> None:
    (flickr8kcn / "flickr8ktrainval.txt").write_text("0_ab\n1_ab\n")
    source = open_source(flickr8kcn)
    assert [split for _, split, _ in contents(source)] == ["train", "dev", "test"]
    assert source.problems == []


def test_captions_of_one_split_alone(flickr8kcn: Path) -> None:
    file = flickr8kcn / "flickr8kzhmtest.captions.txt"
    file.write_text("2_ab.jpg#zhm#0 一只狗。\n", encoding="utf-8")
    source = open_source(file)
    assert contents(source) == [("2_ab.jpg", "test", ("一只狗。",))]
    assert source.notes == []


def test_names_in_two_lists_and_listed_names_without_captions_are_reported(flickr8kcn: Path) -> None:
    (flickr8kcn / "flickr8ktrain.txt").write_text("0_ab\n0_ab\n2_ab\nlost\n")
    source = open_source(flickr8kcn)
    assert [(example.key, example.split, len(example.captions)) for example in source.examples] == [
        ("0_ab.jpg", "train", 2),
        ("1_ab.jpg", "dev", 2),
        ("2_ab.jpg", "test", 2),
        ("lost", "train", 0),
    ]
    assert source.problems == [
        Problem("listed-twice", "0_ab", "twice in flickr8ktrain.txt"),
        Problem("two-splits", "2_ab", "in train and in test; kept in test"),
    ]


def test_other_files_are_no_lists(flickr8kcn: Path) -> None:
    (flickr8kcn / "latest.txt").write_text("version1\n")
    (flickr8kcn / "train_notes.txt").write_text("notes of training\n")
    assert [split for _, split, _ in contents(open_source(flickr8kcn))] == ["train", "dev", "test"]


def test_coco_cn(tmp_path: Path, write_images: WritePictures) -> None:
    names = ["COCO_val2014_000000217153", "COCO_train2014_000000128475"]
    file = tmp_path / "coco-cn_ext.icap2020.txt"
    file.write_text("".join(f"{name}#{k}\t句子 #1 {k}\n" for name in names for k in (0, 1)), encoding="utf-8")
    write_images(tmp_path, [f"{name.split('_')[1]}/{name}.jpg" for name in names])
    for path in (tmp_path, file):
        source = open_source(path)
        assert contents(source) == [(name, "", ("句子 #1 0", "句子 #1 1")) for name in names]
        assert [example.image.name for example in source.examples] == [f"{name}.jpg" for name in names]


def test_roco(tmp_path: Path, write_images: WritePictures) -> None:
    for number, folder in enumerate(("train", "validation", "test")):
        for kind in ("radiology", "non-radiology"):
            place, name = tmp_path / "data" / folder / kind, f"ROCO_{number}{kind[0]}"
            write_images(place / "images", [f"{name}.jpg"])
            (place / "captions.txt").write_text(f"{name}\t Axial MRI of {name}.\n")
            (place / "licences.txt").write_text("ROCO_ID,PMC_ID,CC\n")
    assert contents(open_source(tmp_path)) == [
        (f"ROCO_{number}{kind[0]}", split, (f" Axial MRI of ROCO_{number}{kind[0]}.",))
        for number, split in ((2, "test"), (0, "train"), (1, "validation"))
        for kind in ("non-radiology", "radiology")
    ]
    one = open_source(tmp_path / "data" / "test" / "radiology")
    assert [example.key for example in one.examples] == ["ROCO_2r"]


def test_captions_and_names_in_two_files(tmp_path: Path, write_images: WritePictures) -> None:
    for split in ("train", "test"):
        repeats = 2 if split == "test" else 1
        names = [f"{split}{number}.tif\n" * repeats for number in (0, 1)]
        (tmp_path / f"{split}_caps.txt").write_text(f"A {split}.\nTwo boats.\nA port.\nA pier.\n")
        (tmp_path / f"{split}_filename.txt").write_text("".join(names) + "\n" * (split == "train"))
        write_images(tmp_path / "images", [f"{split}0.tif", f"{split}1.tif"])
    assert open_source(tmp_path).problems == []
    assert contents(open_source(tmp_path)) == [
        (f"{split}{number}.tif", split, captions)
        for split in ("test", "train")
        for number, captions in enumerate([(f"A {split}.", "Two boats."), ("A port.", "A pier.")])
    ]
    (tmp_path / "test_filename.txt").write_text("test0.tif\n" * 3)
    with pytest.raises(
        DataError, match=r"test_caps\.txt: expected one or more lines for each in test_filename"
    ):
        open_source(tmp_path)


def test_lines_that_make_no_sense_are_reported(flickr8kcn: Path) -> None:
    file = flickr8kcn / "flickr8kzhc.caption.txt"
    file.write_text(file.read_text(encoding="utf-8") + "no number\n0_ab.jpg#zhc#2\n", encoding="utf-8")
    source = open_source(file)
    assert [(problem.kind, problem.key) for problem in source.problems] == [
        ("unreadable-line", "flickr8kzhc.caption.txt:9")
    ]
    assert source.examples[0].captions[-1] == ""


def test_captions_beside_images_are_not_taken_for_a_list(tmp_path: Path, write_images: WritePictures) -> None:
    write_images(tmp_path, ["1.png"])
    (tmp_path / "1.txt").write_text("player#7 runs\n")
    assert open_source(tmp_path).name == "folder"


def test_images_elsewhere(flickr8kcn: Path) -> None:
    (flickr8kcn / "Flicker8k_Dataset").rename(flickr8kcn / "moved")
    (flickr8kcn / "texts").mkdir()
    for file in flickr8kcn.glob("*.txt"):
        file.rename(flickr8kcn / "texts" / file.name)
    file = flickr8kcn / "texts" / "flickr8kzhc.caption.txt"
    with pytest.raises(DataError, match="pass --images FOLDER"):
        open_source(file)
    assert open_source(file, images=flickr8kcn / "moved").examples[0].image.is_file()


def test_codes_beside_the_captions_of_roco_are_passed_over(
    tmp_path: Path, write_images: WritePictures
) -> None:
    for split in ("train", "test"):
        place = tmp_path / split / "radiology"
        write_images(place / "images", [f"ROCO_{split}.jpg"])
        for name, text in (("captions", " An MRI."), ("cuis", "C1\tC2"), ("keywords", "scan\tleg")):
            (place / f"{name}.txt").write_text(f"ROCO_{split}\t{text}\n")
    assert contents(open_source(tmp_path)) == [
        (f"ROCO_{split}", split, (" An MRI.",)) for split in ("test", "train")
    ]
