"""Karpathy's three files, in their exact published form, with the pictures wherever people unpack them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from showtell.data.prepared import prepare
from showtell.data.sources.registry import open_source
from showtell.errors import DataError

WritePictures = Callable[[Path, Iterable[str]], None]
SPLITS = ("train", "restval", "val", "test")


def sentence(raw: str, picture: int, number: int) -> dict[str, Any]:
    tokens = raw.lower().replace(".", "").split()
    return {"tokens": tokens, "raw": raw, "imgid": picture, "sentid": number}


def image(name: str, number: int, split: str, **more: Any) -> dict[str, Any]:
    captions = (f"A dog of picture {number}.", f"Two lines\nof {number} .")
    return {
        "filename": name,
        "imgid": number,
        "split": split,
        "sentids": [2 * number, 2 * number + 1],
        "sentences": [sentence(raw, number, 2 * number + k) for k, raw in enumerate(captions)],
        **more,
    }


def write_flickr(file: Path, dataset: str, names: Iterable[str]) -> list[dict[str, Any]]:
    images = [image(name, k, SPLITS[k] if k != 1 else "train") for k, name in enumerate(names)]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"images": images, "dataset": dataset}))
    return images


def coco_name(number: int, folder: str = "val2014") -> str:
    return f"COCO_{folder}_{number:012d}.jpg"


@pytest.fixture
def coco(tmp_path: Path, write_jpegs: WritePictures) -> Path:
    """One picture of each split, three of val2014 and one of train2014."""
    folders = ("train2014", "val2014", "val2014", "val2014")
    images = [
        image(coco_name(9 + k, folder), k, SPLITS[k], filepath=folder, cocoid=9 + k)
        for k, folder in enumerate(folders)
    ]
    write_jpegs(tmp_path, [f"{one['filepath']}/{one['filename']}" for one in images])
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": images, "dataset": "coco"}))
    return tmp_path


@pytest.mark.parametrize("format", [None, "karpathy"])
@pytest.mark.parametrize("name", ["", "dataset_coco.json"])
def test_folder_and_file_are_recognized_and_read(coco: Path, name: str, format: str | None) -> None:
    source = open_source(coco / name, format)
    assert source.name == "karpathy"
    assert source.problems == []
    assert [(example.key, example.split) for example in source.examples] == [
        (f"train2014/{coco_name(9, 'train2014')}", "train"),
        (f"val2014/{coco_name(10)}", "restval"),
        (f"val2014/{coco_name(11)}", "val"),
        (f"val2014/{coco_name(12)}", "test"),
    ]
    assert source.examples[3].captions == ("A dog of picture 3.", "Two lines\nof 3 .")
    assert source.examples[3].image == coco / "val2014" / coco_name(12)


def test_what_is_left_of_the_validation_images_is_trained_on(coco: Path) -> None:
    prepared = prepare(coco, coco / "set")
    sizes = {split: len(prepared.split_rows(split)) for split in ("train", "dev", "test")}
    assert sizes == {"train": 2, "dev": 1, "test": 1}
    assert prepared.captions(1) == ["A dog of picture 1.", "Two lines of 1 ."]


def test_the_annotations_of_coco_itself_come_first_and_the_file_by_name(coco: Path) -> None:
    (coco / "annotations").mkdir()
    captioned = {
        "images": [{"id": 1, "file_name": coco_name(10)}],
        "annotations": [{"image_id": 1, "caption": "A"}],
    }
    (coco / "annotations" / "captions_val2014.json").write_text(json.dumps(captioned))
    assert open_source(coco).name == "coco"
    assert open_source(coco / "dataset_coco.json").name == "karpathy"
    assert open_source(coco, "karpathy").name == "karpathy"


@pytest.mark.parametrize("texts", [".", "karpathy", "caption_datasets", "annotations"])
@pytest.mark.parametrize("pictures", [".", "images", "coco"])
def test_file_and_images_may_are_in_folders_of_their_own(coco: Path, texts: str, pictures: str) -> None:
    (coco / texts).mkdir(exist_ok=True)
    (coco / "dataset_coco.json").rename(coco / texts / "dataset_coco.json")
    (coco / pictures).mkdir(exist_ok=True)
    for folder in ("train2014", "val2014"):
        (coco / folder).rename(coco / pictures / folder)
    for path in (coco, coco / texts / "dataset_coco.json"):
        assert all(example.image.is_file() for example in open_source(path).examples)


def test_the_folders_of_2017_serve_as_well(coco: Path) -> None:
    (coco / "train2017").mkdir()
    (coco / "val2017").mkdir()
    for number, old, new in (
        (9, "train2014", "train2017"),
        (10, "val2014", "train2017"),
        (11, "val2014", "val2017"),
    ):
        (coco / old / coco_name(number, old)).rename(coco / new / f"{number:012d}.jpg")
    source = open_source(coco)
    assert [example.image for example in source.examples] == [
        coco / "train2017" / "000000000009.jpg",
        coco / "train2017" / "000000000010.jpg",
        coco / "val2017" / "000000000011.jpg",
        coco / "val2014" / coco_name(12),
    ]
    assert source.examples[0].key == f"train2014/{coco_name(9, 'train2014')}"


def test_a_missing_image_is_a_problem_of_its_own(coco: Path) -> None:
    (coco / "val2014" / coco_name(12)).unlink()
    prepared = prepare(coco, coco / "set", max_problem_fraction=0.5)
    assert len(prepared) == 3
    assert prepared.manifest["problems"] == {"missing-image": 1}


@pytest.mark.parametrize(
    ("dataset", "folder"),
    [
        ("flickr8k", "Flicker8k_Dataset"),
        ("flickr8k", "Images"),
        ("flickr30k", "flickr30k-images"),
        ("flickr30k", "flickr30k_images/flickr30k_images"),
        ("flickr30k", "."),
    ],
)
def test_the_flickr_sets_are_read(
    tmp_path: Path, write_jpegs: WritePictures, dataset: str, folder: str
) -> None:
    names = [f"{number}_ab.jpg" for number in range(4)]
    write_flickr(tmp_path / f"dataset_{dataset}.json", dataset, names)
    write_jpegs(tmp_path / folder, names)
    source = open_source(tmp_path)
    assert source.name == "karpathy"
    assert [(example.key, example.split) for example in source.examples] == list(
        zip(names, ("train", "train", "val", "test"), strict=True)
    )
    assert all(example.image.is_file() for example in source.examples)


def test_of_three_files_in_a_folder_that_with_images_is_read(
    tmp_path: Path, write_jpegs: WritePictures
) -> None:
    for dataset in ("coco", "flickr8k", "flickr30k"):
        write_flickr(tmp_path / f"dataset_{dataset}.json", dataset, [f"{dataset}.jpg"])
    write_jpegs(tmp_path / "flickr30k-images", ["flickr30k.jpg"])
    assert [example.key for example in open_source(tmp_path).examples] == ["flickr30k.jpg"]
    write_jpegs(tmp_path / "Images", ["flickr8k.jpg"])
    with pytest.raises(
        DataError, match=r"several datasets: found dataset_flickr30k\.json, dataset_flickr8k\.json"
    ):
        open_source(tmp_path)
    assert [one.key for one in open_source(tmp_path / "dataset_flickr8k.json").examples] == ["flickr8k.jpg"]


def test_without_any_image_the_folders_are_named(tmp_path: Path) -> None:
    write_flickr(tmp_path / "dataset_flickr8k.json", "flickr8k", ["a.jpg"])
    with pytest.raises(DataError, match=r"no image of .*8k\.json exists: expected a\.jpg .*flickr30k-images"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"filename": None}, "TypeError"),
        ({"sentences": 7}, "TypeError"),
        ({"sentences": [{"imgid": 0}]}, "KeyError: 'tokens'"),
        ({"sentences": [{"raw": 7}]}, "ValueError: a sentence whose raw is not text"),
        ({"sentences": [7]}, "TypeError"),
    ],
)
def test_entries_that_make_no_sense_are_reported(
    tmp_path: Path, write_jpegs: WritePictures, change: dict[str, Any], told: str
) -> None:
    file = tmp_path / "dataset_flickr8k.json"
    images = write_flickr(file, "flickr8k", ["a.jpg", "b.jpg"])
    write_jpegs(tmp_path / "Images", ["a.jpg", "b.jpg"])
    images[0] |= change
    file.write_bytes(
        b"\xef\xbb\xbf"
        + json.dumps({"dataset": "flickr8k", "images": [*images, 7]}, indent=1).replace("\n", "\r\n").encode()
    )
    source = open_source(file)
    assert [example.key for example in source.examples] == ["b.jpg"]
    assert [(problem.kind, problem.key) for problem in source.problems] == [
        ("unreadable-line", "dataset_flickr8k.json: images[0]"),
        ("unreadable-line", "dataset_flickr8k.json: images[2]"),
    ]
    assert told in source.problems[0].detail


@pytest.mark.parametrize("file", ["dataset_rsicd.json", "texts/dataset_RSITMD.json", "captions.json"])
@pytest.mark.parametrize("folder", ["RSICD_images", "imgs", "."])
def test_other_sets_of_this_form_are_recognized(
    tmp_path: Path, write_images: WritePictures, file: str, folder: str
) -> None:
    names = [f"airport_{number}.tif" for number in range(4)]
    write_flickr(tmp_path / file, "rsicd", names)
    write_images(tmp_path / folder, names)
    source = open_source(tmp_path)
    assert source.name == "karpathy"
    assert [example.split for example in source.examples] == ["train", "train", "val", "test"]
    assert all(example.image.is_file() for example in source.examples)


def test_images_elsewhere_are_found_by_whole_path_only_where_names_repeat(
    tmp_path: Path, write_images: WritePictures
) -> None:
    images = [image("1.jpg", number, "train", filepath=folder) for number, folder in enumerate("ab")]
    (tmp_path / "texts.json").write_text(json.dumps({"images": images}))
    write_images(tmp_path / "photos", ["b/1.jpg"])
    source = open_source(tmp_path / "texts.json", images=tmp_path / "photos")
    assert [example.image.is_file() for example in source.examples] == [False, True]


def test_a_set_without_split_has_none(tmp_path: Path, write_images: WritePictures) -> None:
    images = write_flickr(tmp_path / "any.json", "mine", ["a.jpg"])
    del images[0]["split"]
    (tmp_path / "any.json").write_text(json.dumps({"images": images}))
    write_images(tmp_path, ["a.jpg"])
    assert [example.split for example in open_source(tmp_path).examples] == [""]


def test_an_empty_caption_is_a_problem_and_the_others_are_kept(
    tmp_path: Path, write_jpegs: WritePictures
) -> None:
    file = tmp_path / "dataset_flickr8k.json"
    images = write_flickr(file, "flickr8k", ["a.jpg"])
    write_jpegs(tmp_path, ["a.jpg"])
    images[0]["sentences"].append(sentence(" ", 0, 9))
    file.write_text(json.dumps({"images": images}))
    prepared = prepare(file, tmp_path / "set", max_problem_fraction=1.0)
    assert prepared.captions(0) == ["A dog of picture 0.", "Two lines of 0 ."]
    assert prepared.manifest["problems"] == {"empty-caption": 1}


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"annotations": []}')
    with pytest.raises(DataError, match="does not contain captions in Karpathy's format: expected an object"):
        open_source(tmp_path / "other.json", "karpathy")
    with pytest.raises(DataError, match=r"as karpathy: found none of dataset_coco\.json"):
        open_source(tmp_path, "karpathy")


def test_sentences_of_tokens_alone_are_captions(tmp_path: Path, write_jpegs: WritePictures) -> None:
    image = {"filename": "1.jpg", "split": "train", "sentences": [{"tokens": ["a", "dog"]}]}
    (tmp_path / "all.json").write_text(json.dumps({"note": ["x" * 100] * 1_000, "images": [image]}))
    write_jpegs(tmp_path, ["1.jpg"])
    assert [example.captions for example in open_source(tmp_path).examples] == [("a dog",)]


def test_a_split_that_is_no_text_is_none(tmp_path: Path, write_jpegs: WritePictures) -> None:
    image = {"filename": "1.jpg", "split": "deep", "sentences": [{"raw": "A dog."}]}
    for split in ("null", "[" * 2_000 + "]" * 2_000):
        (tmp_path / "all.json").write_text(json.dumps({"images": [image]}).replace('"deep"', split))
        write_jpegs(tmp_path, ["1.jpg"])
        assert [example.split for example in open_source(tmp_path / "all.json", "karpathy").examples] == [""]


def test_sentences_may_be_texts(tmp_path: Path, write_jpegs: WritePictures) -> None:
    write_jpegs(tmp_path / "Images", ["a.jpg"])
    images = [{"filename": "a.jpg", "split": "train", "sentences": ["A dog.", "A cat."]}]
    (tmp_path / "dataset_flickr8k.json").write_text(json.dumps({"images": images}))
    [example] = open_source(tmp_path).examples
    assert example.captions == ("A dog.", "A cat.")


def test_a_file_of_unreadable_entries_is_no_lack_of_images(
    tmp_path: Path, write_jpegs: WritePictures
) -> None:
    write_jpegs(tmp_path / "Images", ["a.jpg"])
    images = [{"filename": "a.jpg", "split": "train", "sentences": [{"text": "A dog."}]}]
    (tmp_path / "dataset_flickr8k.json").write_text(json.dumps({"images": images}))
    with pytest.raises(
        DataError, match=r"no image in .*8k\.json can be read: .*\n.*images\[0\].*KeyError: 'tokens'"
    ):
        open_source(tmp_path)
