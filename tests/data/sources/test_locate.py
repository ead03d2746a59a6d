"""Images are found below the folders of a dataset under names that are written in other ways."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from showtell.data.sources.base import Example
from showtell.data.sources.locate import are_unique, image_index, names_on_disk, split_in, split_of
from showtell.data.sources.registry import open_source

WritePictures = Callable[[Path, Iterable[str]], None]


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("captions_val2017", "val"),
        ("TextCaps_0.1_test", "test"),
        ("validation-set", "validation"),
        ("trains", ""),
    ],
)
def test_a_split_is_a_word_of_its_own(text: str, split: str) -> None:
    assert split_in(text) == split


def test_the_nearest_folder_gives_the_split_if_the_file_does_not(tmp_path: Path) -> None:
    assert split_of(tmp_path / "train" / "val" / "all.json", tmp_path) == "val"
    assert split_of(tmp_path / "train" / "test.json", tmp_path) == "test"
    assert split_of(tmp_path / "all.json", tmp_path) == ""


def test_names_lose_folders_only_if_the_rest_is_unique() -> None:
    assert names_on_disk("b/1.jpg", unique=True) == ["b/1.jpg", "1.jpg", "b/1.JPG", "1.JPG"]
    assert names_on_disk("b/1.JPG", unique=False) == ["b/1.JPG", "b/1.jpg"]
    assert "a/1.jpg" in names_on_disk("a\\1.jpg", unique=False)
    assert {"1", "1.jpg", "1.tif"} < set(names_on_disk("1", unique=False))
    assert are_unique(["a/1.jpg", "a/2.jpg", "a/2.jpg"])
    assert not are_unique(["a/1.jpg", "b/1.jpg"])


def test_the_own_folders_of_a_split_come_first(tmp_path: Path, write_images: WritePictures) -> None:
    write_images(tmp_path, ["images/1.jpg", "val2017/1.jpg", "val2014/1.jpg", "train/2.jpg", ".hidden/3.jpg"])
    assert (
        image_index(tmp_path, split="val", stem="captions_val2017").find(["1.jpg"]).parent.name == "val2017"
    )
    assert image_index(tmp_path, split="val", stem="x").find(["1.jpg"]).parent.name == "val2014"
    assert image_index(tmp_path, split="test").find(["1.jpg"]).parent.name == "images"
    for name in ("2.jpg", "3.jpg"):
        assert not image_index(tmp_path, split="val").find([name]).exists()
    assert image_index(tmp_path, split="val", apart=False).find(["2.jpg"]).exists()


@pytest.mark.parametrize("form", ["coco", "karpathy", "json"])
def test_names_in_another_unicode_form_are_found_with_a_note(
    tmp_path: Path, write_images: WritePictures, form: str
) -> None:
    name = unicodedata.normalize("NFC", "ガラス é.jpg")
    write_images(tmp_path / "images", [unicodedata.normalize("NFD", name)])
    contents = {
        "coco": {
            "images": [{"id": 1, "file_name": name}],
            "annotations": [{"image_id": 1, "caption": "A glass."}],
        },
        "karpathy": {"images": [{"filename": name, "sentences": [{"raw": "A glass."}]}]},
        "json": [{"image": name, "caption": "A glass."}],
    }
    (tmp_path / "train.json").write_text(json.dumps(contents[form]))
    source = open_source(tmp_path)
    assert source.name == form
    assert [example.image.is_file() for example in source.examples] == [True]
    assert source.notes == ["1 names are in another Unicode form than the files, which were read"]


def test_folders_that_may_not_be_read_are_passed_over(
    tmp_path: Path, write_images: WritePictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "train.json").write_text(json.dumps([{"image": "1.jpg", "caption": "A dog."}]))
    write_images(tmp_path / "photos", ["1.jpg"])
    scandir = os.scandir

    def guarded(path: Any) -> Any:
        if Path(path).name == "lost+found":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert [example.image.is_file() for example in open_source(tmp_path).examples] == [True]


def test_levels_of_very_many_folders_are_not_searched(tmp_path: Path, write_images: WritePictures) -> None:
    write_images(tmp_path, [f"images/study{number}/0.png" for number in range(300)])
    index = image_index(tmp_path)
    assert not index.find(["0.png"]).exists()
    assert index.find(["study7/0.png"]).exists()


@pytest.mark.parametrize("name", ["C:\\data\\img\\1.jpg", "C:/data/img/1.jpg", "/home/ann/img/1.jpg"])
def test_images_of_a_table_from_another_computer_are_found_by_their_last_names(
    tmp_path: Path, write_images: Callable[[Path, Iterable[str]], None], name: str
) -> None:
    write_images(tmp_path / "img", ["1.jpg"])
    (tmp_path / "captions.csv").write_text(f"image,caption\n{name},A dog.\n")
    (example,) = open_source(tmp_path / "captions.csv").examples
    assert isinstance(example, Example)
    assert example.image == tmp_path / "img" / "1.jpg"


@pytest.mark.parametrize("name", ["1.jpg", "a/1.jpg"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_images_of_a_table_may_be_in_another_folder(
    tmp_path: Path, write_images: Callable[[Path, Iterable[str]], None], suffix: str, name: str
) -> None:
    write_images(tmp_path, ["photos/a/1.jpg", "texts/2.jpg"])
    rows = {
        "csv": f"image,caption\n{name},A dog.\n",
        "jsonl": f'{{"image": "{name}", "caption": "A dog."}}\n',
    }
    table = tmp_path / "texts" / f"captions.{suffix}"
    table.write_text(rows[suffix])
    (example,) = open_source(table, images=tmp_path / "photos").examples
    assert isinstance(example, Example)
    assert example.image == tmp_path / "photos" / "a" / "1.jpg"
    assert example.captions == ("A dog.",)


def entries(names: Iterable[str]) -> str:
    return json.dumps([{"image": name, "caption": "A dog."} for name in names])


@pytest.mark.parametrize("missing", [0, 2])
def test_a_missing_image_does_not_move_the_others_to_another_folder(
    tmp_path: Path, write_images: WritePictures, missing: int
) -> None:
    names = [f"{number}.png" for number in range(8)]
    (tmp_path / "captions.json").write_text(entries(names))
    write_images(tmp_path, [f"{folder}/{name}" for folder in ("images", "masks") for name in names])
    (tmp_path / "images" / names[missing]).unlink()
    source = open_source(tmp_path)
    folders = [example.image.parent.name for example in source.examples]
    assert folders == ["masks" if number == missing else "images" for number in range(8)]
    note = f"of 8 images, most are in {tmp_path / 'images'}, but 1 in {tmp_path / 'masks'}"
    assert source.notes[0] == note


def test_a_name_with_its_folder_comes_before_the_name_alone(
    tmp_path: Path, write_images: WritePictures
) -> None:
    names = [f"views/img/{number}.png" for number in range(3)]
    (tmp_path / "captions.json").write_text(entries(names))
    write_images(tmp_path, [f"data/{folder}/{number}.png" for folder in ("img", "a") for number in range(3)])
    source = open_source(tmp_path)
    assert {example.image.parent.name for example in source.examples} == {"img"}
    assert source.notes == []


def test_images_in_a_folder_per_class_need_no_note(tmp_path: Path, write_images: WritePictures) -> None:
    names = [f"{number}.png" for number in range(3)]
    (tmp_path / "captions.json").write_text(entries(names))
    write_images(tmp_path, [f"class{name[0]}/{name}" for name in names])
    assert open_source(tmp_path).notes == []


def test_images_that_were_converted_are_found_with_a_note(
    tmp_path: Path, write_images: WritePictures
) -> None:
    write_images(tmp_path, ["images/1.jpg", "images/2.tif"])
    index = image_index(tmp_path)
    assert index.find(["1.tif"]) == tmp_path / "images" / "1.jpg"
    assert index.find(["2.tif"]) == tmp_path / "images" / "2.tif"
    assert not index.find(["3.tif"]).exists()
    assert index.notes == ["1 names have another suffix than the files, which were read"]
