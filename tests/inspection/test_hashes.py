"""Near-duplicate images are found within a split and across splits, whatever was done to the pixels."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PIL import Image, ImageEnhance
from tests.inspection.conftest import draw

from showtell.data.prepared import PreparedSet
from showtell.inspection.hashes import find_near_duplicates

CAPTION = ["A caption ."]


def found(prepared: PreparedSet) -> set[tuple[str, str, str]]:
    return {
        (one.kind, prepared.key(one.row), prepared.key(one.other) if one.other >= 0 else "")
        for one in find_near_duplicates(prepared)
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.resize((48, 48)),
        lambda image: image.convert("L"),
        lambda image: ImageEnhance.Brightness(image).enhance(1.1),
        lambda image: image.crop((1, 1, 95, 63)),
    ],
)
def test_a_changed_copy_is_a_near_duplicate_of_the_first(
    make_set: Callable[..., PreparedSet], change: Callable[[Image.Image], Image.Image]
) -> None:
    rows = [(f"{number}.png", "train", CAPTION) for number in range(6)]
    prepared = make_set(rows, {"4.png": change(draw(1))})
    assert found(prepared) == {("near-duplicate", "4.png", "1.png")}


def test_the_training_image_is_at_fault_and_dev_that_of_test(make_set: Callable[..., PreparedSet]) -> None:
    splits = ["train", "dev", "test", "train", "dev", "train"]
    rows = [(f"{number}.png", split, CAPTION) for number, split in enumerate(splits)]
    images = {
        "0.png": draw(1).resize((90, 60)),
        "4.png": draw(2).resize((90, 60)),
        "5.png": draw(1).resize((80, 60)),
    }
    prepared = make_set(rows, images)
    assert found(prepared) == {
        ("leaked-image", "0.png", "1.png"),
        ("leaked-image", "4.png", "2.png"),
        ("leaked-image", "5.png", "1.png"),
        ("near-duplicate", "5.png", "0.png"),
    }


def test_an_image_that_is_gone_is_a_finding_and_the_others_are_compared(
    make_set: Callable[..., PreparedSet],
) -> None:
    rows = [(f"{number}.png", "train", CAPTION) for number in range(5)]
    prepared = make_set(rows, {"4.png": draw(1).resize((48, 48))})
    prepared.image_path(0).unlink()
    prepared.image_path(2).write_bytes(b"no image")
    kinds = {(kind, key) for kind, key, _ in found(prepared)}
    assert kinds == {
        ("unreadable-image", "0.png"),
        ("unreadable-image", "2.png"),
        ("near-duplicate", "4.png"),
    }
