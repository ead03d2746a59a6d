"""Pictures that come as bytes become files, each once, and those that nobody uses go."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from showtell.data.image_store import remove_unreferenced, write_embedded_images
from showtell.data.sources.base import EmbeddedImageExample, Example


@pytest.mark.parametrize(
    ("data", "suffix"),
    [(b"\xff\xd8\xff\xe0", ".jpg"), (b"\x89PNG", ".png"), (b"RIFF..WEBP", ".webp"), (b"", ""), (b"?", "")],
)
def test_bytes_become_a_file_named_by_them(tmp_path: Path, data: bytes, suffix: str) -> None:
    [example] = write_embedded_images([EmbeddedImageExample("a", data, ("x",), "train")], tmp_path)
    digest = hashlib.sha256(data).hexdigest()
    path = tmp_path / "images" / digest[:2] / (digest + suffix)
    assert example == Example("a", path, ("x",), "train")
    assert path.read_bytes() == data


def test_equal_bytes_are_one_file_and_files_stay_where_they_are(tmp_path: Path) -> None:
    file = Example("b", Path("elsewhere/b.jpg"), ("x",))
    stored = list(
        write_embedded_images(
            [EmbeddedImageExample("a", b"1", ("x",)), file, EmbeddedImageExample("c", b"1", ("y",))], tmp_path
        )
    )
    assert stored[0].image == stored[2].image
    assert stored[1] is file
    assert [example.key for example in stored] == ["a", "b", "c"]


def test_one_image_is_checked_for_at_a_time(tmp_path: Path) -> None:
    asked = []

    def held() -> object:
        for number in range(3):
            asked.append(number)
            yield EmbeddedImageExample(str(number), bytes([number]), ("x",))

    stored = write_embedded_images(held(), tmp_path)
    next(stored)
    assert asked == [0]


def test_images_of_examples_that_were_left_out_are_removed(tmp_path: Path) -> None:
    stored = list(
        write_embedded_images([EmbeddedImageExample(name, name.encode(), ("x",)) for name in "ab"], tmp_path)
    )
    remove_unreferenced(tmp_path, [stored[1].image].__contains__)
    assert [example.image.exists() for example in stored] == [False, True]
    remove_unreferenced(tmp_path / "nowhere", bool)
