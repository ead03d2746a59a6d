"""A table per split: ROCOv2 in its published form, and sets of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from showtell.data.sources.base import Source
from showtell.data.sources.registry import open_source
from showtell.errors import DataError

WritePictures = Callable[[Path, Iterable[str]], None]


def contents(source: Source) -> list[tuple[str, str, tuple[str, ...]]]:
    assert source.name == "split-tables"
    assert all(example.image.is_file() for example in source.examples)
    return [(example.key, example.split, example.captions) for example in source.examples]


def test_rocov2(tmp_path: Path, write_images: WritePictures) -> None:
    for split in ("train", "valid", "test"):
        name = f"ROCOv2_2023_{split}_000001"
        (tmp_path / f"{split}_captions.csv").write_text(f'ID,Caption\n{name},"CT, {split}."\n')
        (tmp_path / f"{split}_concepts.csv").write_text(f"ID,CUIs\n{name},C0040405\n")
        write_images(tmp_path / split, [f"{name}.jpg"])
    assert contents(open_source(tmp_path)) == [
        (f"ROCOv2_2023_{split}_000001", split, (f"CT, {split}.",)) for split in ("test", "train", "valid")
    ]


def test_own_tables_with_images_elsewhere(tmp_path: Path, write_images: WritePictures) -> None:
    for split in ("train", "val"):
        (tmp_path / "texts").mkdir(exist_ok=True)
        (tmp_path / "texts" / f"{split}.tsv").write_text(f"image\tcaption\n1.jpg\tA {split}.\n")
        write_images(tmp_path / "photos" / split, ["1.jpg"])
    with pytest.raises(DataError, match=r"no image of .*train\.tsv exists"):
        open_source(tmp_path / "texts")
    source = open_source(tmp_path / "texts", images=tmp_path / "photos")
    assert contents(source) == [
        ("train/1.jpg", "train", ("A train.",)),
        ("val/1.jpg", "val", ("A val.",)),
    ]
    assert [example.image.parent.name for example in source.examples] == ["train", "val"]


def test_tables_are_found_by_the_columns_that_the_user_names(
    tmp_path: Path, write_images: WritePictures
) -> None:
    for split in ("train", "val"):
        (tmp_path / f"{split}.csv").write_text(f"scan,finding,note\n{split}.jpg,A {split}.,x\n")
        (tmp_path / f"{split}_codes.csv").write_text(f"scan,code\n{split}.jpg,7\n")
        write_images(tmp_path / "photos", [f"{split}.jpg"])
    with pytest.raises(DataError, match="unknown dataset format"):
        open_source(tmp_path)
    source = open_source(tmp_path, image_column="Scan", caption_column="finding")
    assert contents(source) == [("train.jpg", "train", ("A train.",)), ("val.jpg", "val", ("A val.",))]


def test_a_table_without_split_beside_those_of_splits_is_noted(
    tmp_path: Path, write_images: WritePictures
) -> None:
    for name in ("train", "val", "extra"):
        (tmp_path / f"{name}.csv").write_text(f"image,caption\n{name}.jpg,A dog.\n")
        write_images(tmp_path, [f"{name}.jpg"])
    source = open_source(tmp_path)
    assert [key for key, _, _ in contents(source)] == ["train.jpg", "val.jpg"]
    assert source.notes == [f"{tmp_path / 'extra.csv'} was left out: no split in its name"]


def test_a_single_table_is_no_split(tmp_path: Path, write_images: WritePictures) -> None:
    (tmp_path / "train.csv").write_text("image,caption\n1.jpg,A dog.\n")
    write_images(tmp_path, ["1.jpg"])
    assert contents(open_source(tmp_path)) == [("1.jpg", "", ("A dog.",))]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("captions.csv", "ID,Caption\n1,A dog.\n2,A cat.\n"),
        ("captions.tsv", "Image Name\tCaption\n1.jpg\tA dog.\n2.jpg\tA cat.\n"),
        ("all.jsonl", '{"image": "1.jpg", "caption": "A dog."}\n{"image": "2.jpg", "caption": "A cat."}\n'),
    ],
)
def test_a_single_table_beside_a_folder_of_images(
    tmp_path: Path, write_images: WritePictures, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    write_images(tmp_path / "images", ["1.jpg", "2.jpg"])
    found = contents(open_source(tmp_path))
    assert [caption for _, _, caption in found] == [("A dog.",), ("A cat.",)]
    # The table itself is the same dataset.
    file = open_source(tmp_path / name)
    assert [(example.key, example.split, example.captions) for example in file.examples] == found
    assert all(example.image.is_file() for example in file.examples)


def test_other_tables_beside_those_of_splits_are_passed_over(
    tmp_path: Path, write_images: WritePictures
) -> None:
    for split in ("train", "test"):
        folder = tmp_path / split / "radiology"
        write_images(folder / "images", [f"{split}1.jpg"])
        (folder / f"{split}data.csv").write_text(f'id,name,caption\n{split}1,PMC1.jpg," A {split}.\n"\n')
        (folder / "cuis.csv").write_text(f"id,cui\n{split}1,C1\n")
        (folder / "broken.jsonl").write_text("[1]\n")
    assert contents(open_source(tmp_path)) == [
        ("test1", "test", (" A test.\n",)),
        ("train1", "train", (" A train.\n",)),
    ]


def test_several_tables_of_no_split_are_several_datasets(tmp_path: Path, write_images: WritePictures) -> None:
    write_images(tmp_path, ["1.jpg"])
    for name in ("english", "german"):
        (tmp_path / f"{name}.csv").write_text("image,caption\n1.jpg,A dog.\n")
    with pytest.raises(DataError, match=r"several datasets: found .*english\.csv, .*german\.csv"):
        open_source(tmp_path)


def test_suffixes_in_another_case_are_found(tmp_path: Path, write_images: WritePictures) -> None:
    (tmp_path / "captions.csv").write_text("id,caption\n1,A dog.\n2.JPG,A cat.\n3.jpg,A cow.\n")
    for written, name in (("1.jpg", "1.JPG"), ("2.jpg", "2.jpg"), ("3.jpg", "3.JPG")):
        write_images(tmp_path / "images", [written])
        (tmp_path / "images" / written).rename(tmp_path / "images" / name)
    source = open_source(tmp_path)
    assert len(contents(source)) == 3
    assert source.notes == []


def test_names_that_several_files_have_are_noted(tmp_path: Path, write_images: WritePictures) -> None:
    (tmp_path / "captions.csv").write_text("id,caption\n1,A dog.\n")
    for folder in ("images", "masks"):
        write_images(tmp_path / folder, ["1.jpg"])
    (note,) = open_source(tmp_path).notes
    assert note.startswith("several files fit one name, and the first was read: ")
    assert note.index("images") < note.index("masks")
    assert open_source(tmp_path, images=tmp_path / "masks").notes == []


@pytest.mark.parametrize("folder", [".", "Flicker8k_Dataset", "Images/Images"])
def test_a_table_called_txt_has_its_images_anywhere(
    tmp_path: Path, write_images: WritePictures, folder: str
) -> None:
    write_images(tmp_path / folder, ["a.jpg", "b.jpg"])
    (tmp_path / "captions.txt").write_text("image,caption\na.jpg,A dog , running .\nb.jpg,A cat .\n")
    for path in (tmp_path, tmp_path / "captions.txt"):
        examples = list(open_source(path).examples)
        assert [example.captions for example in examples] == [("A dog , running .",), ("A cat .",)]
        assert all(example.image.is_file() for example in examples)
