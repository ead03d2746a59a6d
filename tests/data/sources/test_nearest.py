"""The error of an unknown dataset names the nearest format and what differs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from showtell.data.sources.registry import open_source
from showtell.errors import DataError


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.json",
            '{"images": [{"filename": "a.jpg", "split": "train"}]}',
            r"nearest is karpathy, but in a\.json images have no 'sentences' \(found filename, split\)",
        ),
        (
            "a.json",
            '{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1, "bbox": []}]}',
            r"nearest is coco, but in a\.json annotations have no 'caption' \(found image_id, bbox\)",
        ),
        (
            "a.json",
            '{"images": [{"id": 1}], "annotations": [{"image_id": 1, "bbox": []}], "info": {"file": 7}}',
            r"nearest is coco, but in a\.json images have no 'file_name' \(found id\), and annotations have no",
        ),
        ("a.json", '[{"image_id": 139, "caption": "A dog."}]', "'image_id' is 139, not the name of an image"),
        (
            "a.json",
            '{"data": [{"url": "x", "caption": "A"}]}',
            "entries in data without the name of an image",
        ),
        ("a.json", '[{"image": "a.jpg", "label": 7}]', r"entries without caption \(found image, label\)"),
        (
            "a.json",
            '[{"id": 7, "image": "a.jpg", "conversations": [{"from": "human", "value": "<image>\\nWhat is it?"}]}]',
            r"entries with conversations in place of a caption \(found id, image, conversations\); write the answers",
        ),
        ("a.json", '{"image": "a.jpg", "caption": "A"}\n{"image"', "pass --format jsonl"),
        ("a.json", '{"a": 1, "b": 2}', r"a\.json has no captions in a known form \(found a, b\)"),
        ("a.json", '{"a":', r"a\.json is not JSON, or has no entries"),
        ("a.jpg", "x", r"a\.jpg is an image; give a folder or a file of captions"),
        ("a.zip", "PK\x03", "a.zip is an archive; unpack it"),
        (
            "a.json",
            '{\n  "image": "a.jpg",\n  "caption": "A"\n}',
            r"a\.json has one object, not a list of them",
        ),
        ("a.txt", "one\ttwo\tthree", "a.txt begins with 'one two three'"),
        ("a.txt", "\ufeffOnce", "a.txt begins with 'Once'"),
        ("a.bin", "\x00\x01", "a.bin is not a text file"),
        ("a.txt", "", "a.txt is empty"),
        ("a.txt", "Once upon a time", "nearest is caption-list, but a.txt begins with 'Once upon a time'"),
    ],
)
def test_a_file_is_compared(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=f"unknown dataset format of .*: found .*{message}"):
        open_source(tmp_path / name)


def test_a_name_that_is_too_long_is_an_error_of_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*: found File name too long"):
        open_source(tmp_path / ("a" * 300))


def test_a_folder_is_compared(tmp_path: Path, write_images: Callable[[Path, Iterable[str]], None]) -> None:
    with pytest.raises(DataError, match="found neither images nor captions"):
        open_source(tmp_path)
    write_images(tmp_path, ["a.jpg", "deep/b.jpg"])
    with pytest.raises(DataError, match=r"nearest is folder, but none of its 2 images has a \.txt"):
        open_source(tmp_path)
    (tmp_path / "texts.csv").write_text("image,title\n")
    with pytest.raises(
        DataError, match=r"nearest is csv, but texts\.csv has not .*found image, title.*--caption-column"
    ):
        open_source(tmp_path)
    (tmp_path / "all.json").write_text('{"images": [{"filename": "a.jpg"}]}')
    with pytest.raises(DataError, match=r"nearest is karpathy, but in all\.json"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "all.csv",
            "name;title\n",
            r"all\.csv has not the columns of images and captions \(found name, title\); choose",
        ),
        ("all.csv", "", r"all\.csv has not the columns of images and captions \(found no lines\)"),
        ("captions.txt", "a.jpg,A dog.\n", r"captions\.txt has no header; put the line image,caption before"),
        ("all.xlsx", "PK\x03\x04", r"all\.xlsx is a spreadsheet; save it as CSV in UTF-8"),
    ],
)
def test_a_table_in_a_folder_is_compared(
    tmp_path: Path, write_images: Callable[[Path, Iterable[str]], None], name: str, content: str, message: str
) -> None:
    write_images(tmp_path, ["a.jpg", "b.jpg"])
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        open_source(tmp_path)
