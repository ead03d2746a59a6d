"""COCO's annotation files, in their exact published form."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from showtell.data.prepared import prepare
from showtell.data.sources.base import Example, Problem, Source
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


def test_files_of_captions_beside_published_ones_are_noted(coco: Path) -> None:
    file = coco / "annotations" / "captions_train2017.json"
    other = file.with_name("my_captions.json")
    other.write_text(file.read_text())
    source = open_source(coco)
    assert len(source.examples) == 3
    assert source.notes == [f"{other} was left out beside files that COCO published"]


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


def write_set(folder: Path, files: dict[str, tuple[list[Any], list[Any] | None]]) -> None:
    """Write files in COCO's form: images as (id, name), annotations as (image_id, caption[, flag]) or None."""
    for name, (images, captions) in files.items():
        content: dict[str, Any] = {
            "info": {},
            "images": [{"id": identity, "file_name": file} for identity, file in images],
        }
        if captions is not None:
            content["annotations"] = [
                {"image_id": identity, "caption": caption, **dict.fromkeys(flags, True)}
                for identity, caption, *flags in captions
            ]
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))


def contents(source: Source) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(example.key, example.split, example.captions) for example in source.examples]


@pytest.mark.parametrize(
    ("texts", "images"),
    [
        ("annotations/{}.json", "{}"),
        ("stair_captions_v1.2_{}.json", "{}2014"),
        ("set_{}_2020/caption_{}_annotations.json", "set_{}_2020/{}_images"),
        ("captions/of {}.json", "images/{}"),
        ("{}/_annotations.coco.json", "{}"),
    ],
)
def test_any_names_of_files_and_folders_are_recognized(
    tmp_path: Path, write_images: WritePictures, texts: str, images: str
) -> None:
    for split in ("train", "val"):
        name = texts.format(split, split)
        write_set(tmp_path, {name: ([(1, "1.jpg"), (2, "2.jpg")], [(1, "A dog."), (2, split)])})
        write_images(tmp_path / images.format(split, split), ["1.jpg", "2.jpg"])
    source = open_source(tmp_path)
    assert source.name == "coco"
    assert [(example.split, example.captions) for example in source.examples] == [
        (split, (caption,)) for split in ("train", "val") for caption in ("A dog.", split)
    ]
    for example in source.examples:
        assert example.image.is_file()
        assert example.key == example.image.relative_to(tmp_path).as_posix()
        assert example.split in example.key


def test_a_file_is_read_with_images_elsewhere(tmp_path: Path, write_images: WritePictures) -> None:
    write_set(tmp_path, {"texts/captions.json": ([(1, "1.jpg")], [(1, "A dog.")])})
    write_images(tmp_path / "photos" / "deep", ["1.jpg"])
    file = tmp_path / "texts" / "captions.json"
    with pytest.raises(
        DataError, match=r"no image of .*captions\.json exists: expected 1\.jpg in .*--images FOLDER"
    ):
        open_source(file)
    for format in (None, "coco"):
        source = open_source(file, format, images=tmp_path / "photos")
        assert contents(source) == [("deep/1.jpg", "", ("A dog.",))]
        assert source.examples[0].image == tmp_path / "photos" / "deep" / "1.jpg"
    with pytest.raises(DataError, match="nowhere: found no such file"):
        open_source(file, images=tmp_path / "nowhere")


def test_an_image_of_another_split_is_not_taken_for_a_missing_one(
    tmp_path: Path, write_images: WritePictures
) -> None:
    files = {
        f"{split}.json": ([(1, "1.jpg"), (2, "2.jpg")], [(1, "A"), (2, "B")]) for split in ("train", "val")
    }
    write_set(tmp_path, files)
    write_images(tmp_path, ["train/1.jpg", "train/2.jpg", "val/2.jpg"])
    assert [example.image.is_file() for example in open_source(tmp_path).examples] == [
        True,
        True,
        False,
        True,
    ]


def test_flagged_captions_are_left_out_and_counted(tmp_path: Path, write_images: WritePictures) -> None:
    canned = "Quality issues are too severe to recognize visual content."
    captions = [
        (1, "A can."),
        (1, canned, "is_precanned"),
        (1, "spam", "is_rejected"),
        (2, canned, "is_precanned"),
        (2, canned, "is_precanned", "is_rejected"),
    ]
    write_set(tmp_path, {"train.json": ([(1, "1.jpg"), (2, "2.jpg")], captions)})
    write_images(tmp_path / "train", ["1.jpg", "2.jpg"])
    source = open_source(tmp_path)
    assert contents(source) == [("train/1.jpg", "train", ("A can.",))]
    assert source.notes == [
        "train.json: 3 precanned and 1 rejected captions were left out, with 1 images that have no others"
    ]
    assert source.problems == []


def test_a_file_without_annotations_is_a_note(tmp_path: Path, write_images: WritePictures) -> None:
    write_set(
        tmp_path,
        {
            "annotations/train.json": ([(1, "1.jpg")], [(1, "A dog.")]),
            "annotations/test.json": ([(2, "2.jpg"), (3, "3.jpg")], None),
        },
    )
    write_images(tmp_path, ["train/1.jpg", "test/2.jpg"])
    source = open_source(tmp_path)
    assert contents(source) == [("train/1.jpg", "train", ("A dog.",))]
    assert source.problems == []
    assert source.notes == ["test.json: 2 images without captions were left out"]
    with pytest.raises(DataError, match=r"has no captions: found test\.json: 2 images without captions"):
        open_source(tmp_path / "annotations" / "test.json")


def test_ids_are_compared_as_text(tmp_path: Path, write_images: WritePictures) -> None:
    write_set(tmp_path, {"train.json": ([(1, "1.jpg"), ("2", "2.jpg")], [("1", "A"), (2, "B"), (1.0, "C")])})
    write_images(tmp_path, ["1.jpg", "2.jpg"])
    assert [example.captions for example in open_source(tmp_path).examples] == [("A", "C"), ("B",)]


def test_images_of_one_id_are_left_out_with_their_captions(
    tmp_path: Path, write_images: WritePictures
) -> None:
    images = [(7, "a.jpg"), ("7", "b.jpg"), (8, "c.jpg"), (8, "c.jpg"), (8.5, "d.jpg")]
    write_set(tmp_path, {"train.json": (images, [(7, "A"), ("7", "B"), (8, "C")])})
    write_images(tmp_path, ["a.jpg", "b.jpg", "c.jpg", "d.jpg"])
    source = open_source(tmp_path)
    assert contents(source) == [("c.jpg", "train", ("C",))]
    assert [(problem.kind, problem.key, problem.detail) for problem in source.problems] == [
        ("unreadable-line", "train.json: images[4]", "the id 8.5 is neither text nor a whole number"),
        ("unreadable-line", "train.json: a.jpg", "images of the same id 7: a.jpg, b.jpg"),
        ("unreadable-line", "train.json: b.jpg", "images of the same id 7: a.jpg, b.jpg"),
        ("captions-without-image", "train.json: 7", "2 captions of an image_id of several images"),
    ]


def test_other_annotations_are_not_taken_for_captions(tmp_path: Path, write_images: WritePictures) -> None:
    write_set(tmp_path, {"annotations/captions_train.json": ([(1, "1.jpg")], [(1, "A dog.")])})
    boxes = {
        "images": [{"id": 1, "file_name": "1.jpg"}],
        "annotations": [{"image_id": 1, "bbox": [0, 0, 1, 1]}],
    }
    (tmp_path / "annotations" / "instances_train.json").write_text(json.dumps(boxes))
    write_images(tmp_path, ["1.jpg"])
    assert contents(open_source(tmp_path)) == [("1.jpg", "train", ("A dog.",))]


def test_two_datasets_in_a_folder_are_not_mixed(tmp_path: Path, write_images: WritePictures) -> None:
    one = ([(1, "1.jpg")], [(1, "A dog.")])
    write_set(tmp_path, {"english_train.json": one, "english_val.json": one, "japanese_train.json": one})
    write_images(tmp_path, ["1.jpg"])
    with pytest.raises(
        DataError, match=r"contains several datasets: found .*english_val\.json, .*Give one file"
    ):
        open_source(tmp_path)
    assert len(open_source(tmp_path / "japanese_train.json").examples) == 1


def test_of_a_set_and_its_tokenized_copy_the_former_is_read(
    tmp_path: Path, write_images: WritePictures
) -> None:
    for name, text in (("", "赤い服"), ("_tokenized", "赤い 服")):
        write_set(tmp_path, {f"stair_captions_v1.2_train{name}.json": ([(1, "1.jpg")], [(1, text)])})
    write_images(tmp_path, ["1.jpg"])
    source = open_source(tmp_path)
    assert contents(source) == [("1.jpg", "train", ("赤い服",))]
    assert source.notes == [
        "stair_captions_v1.2_train_tokenized.json was left out: stair_captions_v1.2_train.json is the same text"
    ]
    file = tmp_path / "stair_captions_v1.2_train_tokenized.json"
    assert contents(open_source(file)) == [("1.jpg", "train", ("赤い 服",))]


def test_real_annotations_are_read(shared_data: Path) -> None:
    source = open_source(shared_data / "data" / "coco_mini")
    assert source.problems == []
    assert [sum(example.split == split for example in source.examples) for split in ("train", "val")] == [
        80,
        79,
    ]
    assert all(len(example.captions) >= 5 for example in source.examples)
    assert all(example.image.is_file() for example in source.examples)


@pytest.mark.parametrize("first", ["licenses", "annotations"])
def test_images_after_a_long_part_are_found(
    tmp_path: Path, write_images: Callable[[Path, Iterable[str]], None], first: str
) -> None:
    content = {
        "licenses": [{"url": "x" * 100}] * 1_000,
        "annotations": [{"image_id": 1, "caption": "A dog."}] * 3_000,
        "images": [{"id": 1, "file_name": "1.jpg"}],
    }
    ordered = {first: content.pop(first), **content}
    write_images(tmp_path, ["1.jpg"])
    (tmp_path / "all.json").write_text(json.dumps(ordered))
    assert [len(example.captions) for example in open_source(tmp_path).examples] == [3_000]


@pytest.mark.parametrize(("yes", "no"), [(True, False), (1, 0), ("true", "false"), ("True", ""), ("1", "0")])
def test_flags_may_be_numbers_or_texts(
    tmp_path: Path, write_images: Callable[[Path, Iterable[str]], None], yes: object, no: object
) -> None:
    flags = [(no, no), (yes, no), (no, yes)]
    annotations = [
        {"image_id": 1, "caption": f"Caption {number}.", "is_precanned": precanned, "is_rejected": rejected}
        for number, (precanned, rejected) in enumerate(flags)
    ]
    content = {"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": annotations}
    write_images(tmp_path, ["1.jpg"])
    (tmp_path / "all.json").write_text(json.dumps(content))
    source = open_source(tmp_path)
    assert [example.captions for example in source.examples] == [("Caption 0.",)]
    assert source.notes == ["all.json: 1 precanned and 1 rejected captions were left out"]


def test_images_may_be_named_by_their_id_in_open_images(
    tmp_path: Path, write_images: Callable[[Path, Iterable[str]], None]
) -> None:
    content = {
        "images": [{"id": 1, "open_images_id": "0013ea"}],
        "annotations": [{"image_id": 1, "caption": "A baby."}],
    }
    write_images(tmp_path / "val", ["0013ea.jpg"])
    (tmp_path / "nocaps_val.json").write_text(json.dumps(content))
    (example,) = open_source(tmp_path).examples
    assert isinstance(example, Example)
    assert (example.captions, example.image.name) == (("A baby.",), "0013ea.jpg")


def test_values_of_many_levels_are_reported(
    tmp_path: Path, write_images: Callable[[Path, Iterable[str]], None]
) -> None:
    deep = "[" * 2_000 + "]" * 2_000
    broken = f'{{"id": {deep}, "file_name": "2.jpg"}}, {{"id": 3, "file_name": {deep}}}'
    images = f'[{{"id": 1, "file_name": "1.jpg"}}, {broken}]'
    captions = f'[{{"image_id": 1, "caption": "A dog."}}, {{"image_id": 1, "caption": {deep}}}]'
    (tmp_path / "all.json").write_text(f'{{"images": {images}, "annotations": {captions}}}')
    write_images(tmp_path, ["1.jpg"])
    source = open_source(tmp_path)
    assert [example.captions for example in source.examples] == [("A dog.",)]
    assert [problem.key for problem in source.problems] == [
        *("all.json: images[1]", "all.json: images[2]", "all.json: annotations[1]")
    ]


def write_own(folder: Path, write_images: WritePictures, **change: Any) -> Path:
    """Three images of an own tool, one caption each."""
    write_images(folder / "images", ["a.jpg", "b.jpg", "c.jpg"])
    content: dict[str, Any] = {
        "images": [{"id": number, "file_name": f"{'abc'[number]}.jpg"} for number in range(3)],
        "annotations": [{"image_id": number, "caption": f"Dog {number}."} for number in range(3)],
    }
    (folder / "all.json").write_text(json.dumps(content | change))
    return folder


CAPTIONED = [("images/a.jpg", ("Dog 0.",)), ("images/b.jpg", ("Dog 1.",)), ("images/c.jpg", ("Dog 2.",))]


def test_an_image_has_its_own_split(tmp_path: Path, write_images: WritePictures) -> None:
    images = [
        {"id": number, "file_name": f"{'abc'[number]}.jpg", "split": split}
        for number, split in enumerate(("train", "val", "test"))
    ]
    source = open_source(write_own(tmp_path, write_images, images=images))
    assert [example.split for example in source.examples] == ["train", "val", "test"]


@pytest.mark.parametrize(
    "change",
    [
        {"images": [{"id": number, "filename": f"{'abc'[number]}.jpg"} for number in range(3)]},
        {"images": [{"id": f"{number:012d}", "file_name": f"{'abc'[number]}.jpg"} for number in range(3)]},
        {"annotations": [{"image_id": f"{'abc'[n]}.jpg", "caption": f"Dog {n}."} for n in range(3)]},
        {"annotations": [{"image_id": "abc"[n], "caption": f"Dog {n}."} for n in range(3)]},
        {"annotations": [{"image_id": n, "captions": [f"Dog {n}."]} for n in range(3)]},
    ],
)
def test_forms_of_own_tools_are_read(
    tmp_path: Path, write_images: WritePictures, change: dict[str, Any]
) -> None:
    source = open_source(write_own(tmp_path, write_images, **change))
    assert [(example.key, example.captions) for example in source.examples] == CAPTIONED
    assert source.problems == []
