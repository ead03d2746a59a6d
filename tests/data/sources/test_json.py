"""Captions in JSON of other forms, in the exact published ones and under other names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from showtell.data.sources.base import Problem, Source
from showtell.data.sources.registry import open_source
from showtell.errors import DataError

WritePictures = Callable[[Path, Iterable[str]], None]


def write(folder: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return folder


def contents(source: Source) -> list[tuple[str, str, tuple[str, ...]]]:
    assert source.name == "json"
    assert all(example.image.is_file() for example in source.examples)
    return [(example.key, example.split, example.captions) for example in source.examples]


def test_ai_challenger(tmp_path: Path, write_images: WritePictures) -> None:
    for split, name in (("train", "8f00"), ("validation", "8f01")):
        root = tmp_path / f"ai_challenger_caption_{split}_20170902"
        entries = [{"url": "http://x/y.jpg", "image_id": f"{name}.jpg", "caption": ["两个人", "一只狗"]}]
        write(root, {f"caption_{split}_annotations_20170902.json": entries})
        write_images(root / f"caption_{split}_images_20170902", [f"{name}.jpg"])
    assert contents(open_source(tmp_path)) == [
        ("8f00.jpg", "train", ("两个人", "一只狗")),
        ("8f01.jpg", "validation", ("两个人", "一只狗")),
    ]


def test_textcaps(tmp_path: Path, write_images: WritePictures) -> None:
    texts = ["Five bottles.", "Bottles on a shelf."]

    def data(split: str, *, captioned: bool = True) -> dict[str, Any]:
        entry = {"image_id": f"{split}1", "set_name": split, "image_path": f"{split}/{split}1.jpg"}
        captions = [{"caption_str": text, "reference_strs": texts} for text in texts] if captioned else [{}]
        return {
            "dataset_type": split,
            "dataset_version": 0.1,
            "data": [{**entry, **caption} for caption in captions],
        }

    splits = ("train", "val", "test")
    write(
        tmp_path, {f"TextCaps_0.1_{split}.json": data(split, captioned=split != "test") for split in splits}
    )
    write_images(tmp_path, ["train_images/train1.jpg", "train_images/val1.jpg", "test_images/test1.jpg"])
    source = open_source(tmp_path)
    assert contents(source) == [
        ("train/train1.jpg", "train", tuple(texts)),
        ("val/val1.jpg", "val", tuple(texts)),
    ]
    assert source.notes == ["1 images without captions were left out (test)"]
    assert source.problems == []


def test_reports_of_several_images(tmp_path: Path, write_images: WritePictures) -> None:
    studies = {split: f"CXR{number}" for number, split in enumerate(("train", "val", "test"))}
    entries = {
        split: [
            {"id": study, "report": f"Report of {study}.", "image_path": [f"{study}/0.png", f"{study}/1.png"]}
        ]
        for split, study in studies.items()
    }
    write(tmp_path, {"annotation.json": entries})
    write_images(
        tmp_path / "images", [f"{study}/{number}.png" for study in studies.values() for number in (0, 1)]
    )
    source = open_source(tmp_path)
    assert contents(source) == [
        (f"{study}/0.png", split, (f"Report of {study}.",)) for split, study in studies.items()
    ]
    assert source.notes == ["3 rows name several images; the first of each was read"]
    (tmp_path / "images" / "CXR0" / "0.png").unlink()
    assert not open_source(tmp_path).examples[0].image.exists()


def test_nwpu_captions_by_category(tmp_path: Path, write_images: WritePictures) -> None:
    entries = {
        category: [
            {
                "filename": "1.jpg",
                "split": "train",
                "raw": "One.",
                "sentids": 0,
                "raw_1": "Two.",
                "raw_2": "Three.",
            },
            {"filename": "2.jpg", "split": "test", "raw": "Four.", "raw_1": "Five.", "raw_2": ""},
        ]
        for category in ("airport", "bridge")
    }
    write(tmp_path, {"dataset_nwpu.json": entries})
    write_images(tmp_path / "NWPU_images", ["airport/1.jpg", "airport/2.jpg", "bridge/1.jpg", "bridge/2.jpg"])
    assert contents(open_source(tmp_path)) == [
        (f"{category}/{name}", split, captions)
        for category in ("airport", "bridge")
        for name, split, captions in (
            ("1.jpg", "train", ("One.", "Two.", "Three.")),
            ("2.jpg", "test", ("Four.", "Five.")),
        )
    ]


@pytest.mark.parametrize("folder", [".", "images", "coco/images"])
def test_a_list_of_entries_per_split(tmp_path: Path, write_images: WritePictures, folder: str) -> None:
    write(
        tmp_path,
        {
            "coco_karpathy_train.json": [
                {"image": "val2014/1.jpg", "caption": "A dog.", "image_id": "coco_1"},
                {"image": "val2014/1.jpg", "caption": "A brown dog.", "image_id": "coco_1"},
            ],
            "coco_karpathy_test.json": [{"image": "val2014/2.jpg", "caption": ["A cat.", "Two."]}],
        },
    )
    write_images(tmp_path / folder, ["val2014/1.jpg", "val2014/2.jpg", "test2014/3.jpg"])
    assert contents(open_source(tmp_path)) == [
        ("val2014/2.jpg", "test", ("A cat.", "Two.")),
        ("val2014/1.jpg", "train", ("A dog.", "A brown dog.")),
    ]
    assert len(open_source(tmp_path / "coco_karpathy_test.json").examples) == 1


@pytest.mark.parametrize(
    "content",
    [
        {"1.jpg": ["A dog.", "Brown."], "2.jpg": ["A cat."]},
        {
            "info": {"year": 7},
            "images": [
                {"path": "1.jpg", "captions": ["A dog.", "Brown."]},
                {"path": "2.jpg", "captions": ["A cat."]},
            ],
        },
        {"1.jpg": {"captions": ["A dog.", "Brown."]}, "2.jpg": {"captions": "A cat."}},
        [
            {"file_name": "1.jpg", "text": "A dog."},
            {"file_name": "2.jpg", "text": "A cat."},
            {"file_name": "1.jpg", "text": "Brown."},
        ],
        {
            "version": 1,
            "items": [
                {"image_id": "1", "caption_0": "A dog.", "caption_1": "Brown."},
                {"image_id": "2", "caption_0": "A cat.", "caption_1": ""},
            ],
        },
    ],
)
def test_forms_without_split(tmp_path: Path, write_images: WritePictures, content: Any) -> None:
    write(tmp_path, {"mine.json": content})
    write_images(tmp_path / "photos", ["1.jpg", "2.jpg"])
    source = open_source(tmp_path)
    found = {key.removesuffix(".jpg"): captions for key, _, captions in contents(source)}
    assert found == {"1": ("A dog.", "Brown."), "2": ("A cat.",)}
    assert {example.split for example in source.examples} == {""}
    assert source.problems == []


def test_images_elsewhere(tmp_path: Path, write_images: WritePictures) -> None:
    write(tmp_path / "texts", {"any.json": [{"image": "/export/coco/val2014/1.jpg", "caption": "A dog."}]})
    write_images(tmp_path / "photos" / "val2014", ["1.jpg"])
    file = tmp_path / "texts" / "any.json"
    with pytest.raises(DataError, match=r"no image of .*any\.json exists: expected .*pass --images FOLDER"):
        open_source(file)
    source = open_source(file, "json", images=tmp_path / "photos")
    assert [example.image for example in source.examples] == [tmp_path / "photos" / "val2014" / "1.jpg"]


def test_entries_that_make_no_sense_are_reported(tmp_path: Path, write_images: WritePictures) -> None:
    entries = [
        {"image": "1.jpg", "caption": "A dog."},
        {"caption": "No image."},
        {"image": 7, "caption": "A number."},
        {"image": "1.jpg", "caption": 7},
        ["1.jpg", "A list."],
        "text",
        {"image": "1.jpg"},
    ]
    write(tmp_path, {"train.json": entries})
    write_images(tmp_path, ["1.jpg"])
    source = open_source(tmp_path)
    assert [(example.key, example.captions) for example in source.examples] == [("1.jpg", ("A dog.",))]
    assert [(problem.kind, problem.key) for problem in source.problems] == [
        ("unreadable-line", f"train.json: [{number}]") for number in (1, 2, 3, 4, 5)
    ]


def test_an_entry_without_captions_among_others_is_a_problem_of_the_image(
    tmp_path: Path, write_images: WritePictures
) -> None:
    write(tmp_path, {"train.json": [{"image": "1.jpg", "caption": "A dog."}, {"image": "2.jpg"}]})
    write_images(tmp_path, ["1.jpg", "2.jpg"])
    assert contents(open_source(tmp_path)) == [("1.jpg", "train", ("A dog.",)), ("2.jpg", "train", ())]


def test_keys_without_the_suffix_of_an_image_are_images_where_others_have_one(
    tmp_path: Path, write_images: WritePictures
) -> None:
    write(tmp_path, {"all.json": {"version": "1", "a.jpg": ["A"], "b": ["B"], "c.mp4": "y"}})
    write_images(tmp_path, ["a.jpg", "b.jpg"])
    source = open_source(tmp_path)
    assert [(example.key, example.captions) for example in source.examples] == [
        ("a.jpg", ("A",)),
        ("b", ("B",)),
        ("c.mp4", ("y",)),
    ]
    assert [example.image.is_file() for example in source.examples] == [True, True, False]


def test_everything_in_a_list_of_entries_is_read_or_reported(
    tmp_path: Path, write_images: WritePictures
) -> None:
    entries = [{"image": "1.jpg", "caption": "A dog."}, "junk", None, 7]
    write(tmp_path, {"train.json": {"kind": "photos", "data": entries}})
    write_images(tmp_path, ["1.jpg"])
    source = open_source(tmp_path)
    assert contents(source) == [("1.jpg", "train", ("A dog.",))]
    assert [problem.key for problem in source.problems] == [f"train.json: data[{n}]" for n in (1, 2, 3)]


@pytest.mark.parametrize("key", ["airport", "annotations", "photos"])
def test_a_list_named_like_a_folder_leaves_names_with_folders_alone(
    tmp_path: Path, write_images: WritePictures, key: str
) -> None:
    names = [f"{folder}/1.jpg" for folder in ("airport", "bridge")]
    write(tmp_path, {"all.json": {key: [{"image": name, "caption": name} for name in names]}})
    write_images(tmp_path / "photos", names)
    (tmp_path / "annotations").mkdir()
    source = open_source(tmp_path)
    assert [example.image.relative_to(tmp_path / "photos").as_posix() for example in source.examples] == names
    assert all(example.image.is_file() for example in source.examples)


def test_a_file_without_captions_is_refused(tmp_path: Path, write_images: WritePictures) -> None:
    write(tmp_path, {"test.json": [{"image": "1.jpg"}]})
    write_images(tmp_path, ["1.jpg"])
    with pytest.raises(DataError, match=r"has no captions: found 1 images without captions .*\(test\)"):
        open_source(tmp_path / "test.json", "json")


def test_side_car_files_are_no_captions(tmp_path: Path, write_images: WritePictures) -> None:
    write(tmp_path, {"1.json": {"caption": "A dog.", "url": "http://x/1.jpg", "status": "success"}})
    write_images(tmp_path, ["1.jpg"])
    (tmp_path / "1.txt").write_text("A dog.")
    assert open_source(tmp_path).name == "folder"


def test_images_of_one_name_in_folders_of_two_splits_are_kept_apart(
    tmp_path: Path, write_images: WritePictures
) -> None:
    write(tmp_path, {f"{split}.json": [{"image": "1.jpg", "caption": split}] for split in ("train", "val")})
    write_images(tmp_path, ["train/1.jpg", "val/1.jpg"])
    assert [example.image.parent.name for example in open_source(tmp_path).examples] == ["train", "val"]
    (tmp_path / "val" / "1.jpg").rename(tmp_path / "val" / "2.jpg")
    assert [example.image.exists() for example in open_source(tmp_path).examples] == [True, False]


def test_the_problem_names_list_and_number(tmp_path: Path, write_images: WritePictures) -> None:
    write(
        tmp_path, {"a.json": {"train": [{"image": "1.jpg", "caption": "A"}, {"image": " ", "caption": "B"}]}}
    )
    write_images(tmp_path, ["1.jpg"])
    [problem] = open_source(tmp_path).problems
    assert problem == Problem("unreadable-line", "a.json: train[1]", problem.detail)
    assert problem.detail.startswith("no image (image, file_name")


def test_the_user_names_columns(tmp_path: Path, write_images: WritePictures) -> None:
    write_images(tmp_path, ["1.jpg"])
    entries = [{"photo": "1.jpg", "caption": "Title.", "summary": "A dog."}]
    (tmp_path / "data.json").write_text(json.dumps(entries))
    for path in (tmp_path, tmp_path / "data.json"):
        source = open_source(path, image_column="photo", caption_column="summary")
        assert [(example.key, example.captions) for example in source.examples] == [("1.jpg", ("A dog.",))]


def test_entries_without_captions_are_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text(json.dumps([{"image": "1.jpg", "label": 7}]))
    with pytest.raises(
        DataError, match=r"data\.json has no captions: found 1 images .* were left out\. Give"
    ):
        open_source(tmp_path / "data.json", "json")
