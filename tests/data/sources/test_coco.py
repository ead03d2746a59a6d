"""COCO's annotation files, in their exact published form."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from showtell.data.prepared import prepare
from showtell.data.sources.base import Problem
from showtell.data.sources.registry import open_source
from showtell.errors import DataError

WritePictures = Callable[[Path, Iterable[str]], None]


def published(images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> str:
    about = {"description": "COCO 2017 Dataset", "version": "1.0", "year": 2017}
    licenses = [{"url": "http://creativecommons.org/licenses/by-nc/2.0/", "id": 2, "name": "Attribution"}]
    return json.dumps({"info": about, "licenses": licenses, "images": images, "annotations": annotations})


@pytest.fixture
def coco(tmp_path: Path, write_images: WritePictures) -> Path:
    """Two training pictures, one of them without captions, and one validation picture."""
    (tmp_path / "annotations").mkdir()
    for folder, numbers in (("train2017", (9, 25)), ("val2017", (139,))):
        names = {number: f"{number:012d}.jpg" for number in numbers}
        write_images(tmp_path / folder, names.values())
        images = [
            {
                "license": 2,
                "file_name": name,
                "height": 8,
                "width": 8,
                "date_captured": "2013-11-14",
                "id": number,
            }
            for number, name in names.items()
        ]
        annotations = [
            {"image_id": numbers[0], "id": 100 + place, "caption": caption}
            for place, caption in enumerate(("A dog runs. ", "Two lines\nin one."))
        ]
        (tmp_path / "annotations" / f"captions_{folder}.json").write_text(published(images, annotations))
    return tmp_path


def test_both_files_are_recognized_and_read(coco: Path) -> None:
    source = open_source(coco)
    assert source.name == "coco"
    assert source.problems == []
    assert [(example.key, example.split, example.captions) for example in source.examples] == [
        ("train2017/000000000009.jpg", "train", ("A dog runs. ", "Two lines\nin one.")),
        ("train2017/000000000025.jpg", "train", ()),
        ("val2017/000000000139.jpg", "val", ("A dog runs. ", "Two lines\nin one.")),
    ]
    assert source.examples[2].image == coco / "val2017" / "000000000139.jpg"


def test_the_validation_images_are_dev(coco: Path) -> None:
    prepared = prepare(coco, coco / "set", max_problem_fraction=0.5)
    assert [prepared.key(int(row)) for row in prepared.split_rows("dev")] == ["val2017/000000000139.jpg"]
    assert prepared.captions(int(prepared.split_rows("dev")[0])) == ["A dog runs.", "Two lines in one."]


def test_images_of_one_name_in_two_folders_are_two(coco: Path) -> None:
    # Other bytes under a name that train2017 has too.
    (coco / "val2017" / "000000000139.jpg").rename(coco / "val2017" / "000000000009.jpg")
    file = coco / "annotations" / "captions_val2017.json"
    file.write_text(file.read_text().replace("000000000139.jpg", "000000000009.jpg"))
    prepared = prepare(coco, coco / "set", max_problem_fraction=0.5)
    assert prepared.keys == ["train2017/000000000009.jpg", "val2017/000000000009.jpg"]
    assert "two-splits" not in prepared.manifest["problems"]


@pytest.mark.parametrize(
    ("images", "annotations", "problem"),
    [
        (
            [{"id": 1}],
            [],
            Problem(
                "unreadable-line", "captions_train2017.json: images[0]", "an image without id and file_name"
            ),
        ),
        (
            [],
            [{"id": 3}],
            Problem(
                "unreadable-line",
                "captions_train2017.json: annotations[0]",
                "an annotation without image_id and caption",
            ),
        ),
        (
            [{"id": 1, "file_name": "a.jpg"}],
            [{"image_id": 1, "caption": 7}],
            Problem(
                "unreadable-line",
                "captions_train2017.json: annotations[0]",
                "a caption of type int, not text",
            ),
        ),
        (
            [],
            [{"image_id": 5, "caption": "Lost."}],
            Problem(
                "captions-without-image",
                "captions_train2017.json: 5",
                "1 captions of an image_id without image",
            ),
        ),
    ],
)
def test_entries_that_make_no_sense_are_reported(
    tmp_path: Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]], problem: Problem
) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "captions_train2017.json").write_text(published(images, annotations))
    assert open_source(tmp_path).problems == [problem]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "lists 'images' and 'annotations'"),
        ("{}", "lists 'images' and 'annotations'"),
    ],
)
def test_another_file_of_that_name_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "captions_val2017.json").write_text(content)
    with pytest.raises(DataError, match=message):
        open_source(tmp_path)


def test_real_annotations_are_read(shared_data: Path) -> None:
    source = open_source(shared_data / "data" / "coco_mini")
    assert source.problems == []
    assert [sum(example.split == split for example in source.examples) for split in ("train", "val")] == [
        80,
        79,
    ]
    assert all(len(example.captions) >= 5 for example in source.examples)
    assert all(example.image.is_file() for example in source.examples)
