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
    assert contents(source) == [("1.jpg", "train", ("A train.",)), ("1.jpg", "val", ("A val.",))]
    assert [example.image.parent.name for example in source.examples] == ["train", "val"]


def test_a_single_table_is_no_split(tmp_path: Path, write_images: WritePictures) -> None:
    (tmp_path / "train.csv").write_text("image,caption\n1.jpg,A dog.\n")
    write_images(tmp_path, ["1.jpg"])
    assert contents(open_source(tmp_path)) == [("1.jpg", "", ("A dog.",))]
