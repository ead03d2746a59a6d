"""Captions that leak, repeat or describe nothing are found, ordinary ones are not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from showtell.data.prepared import PreparedSet
from showtell.inspection.captions import (
    BOILERPLATE,
    find_boilerplate,
    find_leaked,
    find_phrases,
    find_repeated,
)

LONG = "A brown dog runs through the tall grass near a fence ."
CaptionSet = Callable[..., PreparedSet]


def test_a_long_caption_of_two_splits_is_leaked_whatever_its_case(caption_set: CaptionSet) -> None:
    prepared = caption_set(
        train=[[LONG.upper(), "A dog ."], ["A cat sleeps ."], [LONG]],
        dev=[["A dog .", LONG], [LONG]],
        test=[["Nothing of this is anywhere else but here in the test split ."]],
    )
    found = list(find_leaked(prepared))
    assert [(one.row, one.other, one.caption) for one in found] == [(0, 3, LONG.upper()), (2, 3, LONG)]
    assert found[0].reason == "11 words, also in dev"


def test_chinese_captions_leak_though_they_are_one_word(caption_set: CaptionSet) -> None:
    text = "一只棕色的狗在高高的草丛中奔跑着"
    prepared = caption_set(train=[[text], ["狗"]], dev=[[text], ["狗"]])
    assert [one.row for one in find_leaked(prepared)] == [0]


def test_a_caption_at_many_images_is_repeated_at_each(caption_set: CaptionSet) -> None:
    images = [[f"A picture of number {number} ."] for number in range(12)]
    for number in range(10):
        images[number].append("A dog runs !" if number % 2 else "a dog runs .")
    found = list(find_repeated(caption_set(train=images)))
    assert [one.row for one in found] == list(range(10))
    assert {one.reason for one in found} == {"at 10 images"}
    images[9].pop()
    assert not list(find_repeated(caption_set(train=images)))


@pytest.mark.parametrize(
    "text",
    [
        "Image not available",
        "I am unable to see an image above.",
        "There is no image here to provide a caption for.",
        "no image again there are a lot of these lately",
        "No caption",
        "© 2019 Jane Doe. All rights reserved.",
        "A red car, photo by shutterstock",
        "IMG_0042",
        "dsc-1234.JPG",
        "see https://example.org/a",
        "n/a",
        "Untitled",
        "...",
    ],
)
def test_boilerplate_is_found(text: str) -> None:
    assert BOILERPLATE.search(text)


@pytest.mark.parametrize(
    "text",
    [
        "A man takes a photo of no particular place .",
        "A sign says that no food is available .",
        "A picture on the wall shows an image of a boat .",
        "An unknown man stands there .",
        "Nobody can see the picture behind the door .",
        "A test of strength .",
    ],
)
def test_descriptions_are_no_boilerplate(text: str) -> None:
    assert not BOILERPLATE.search(text)


def test_boilerplate_names_image_caption_and_reason(caption_set: CaptionSet) -> None:
    prepared = caption_set(train=[["A dog .", "Image not available"], ["A cat ."]], dev=[["A hen ."]])
    [found] = find_boilerplate(prepared)
    assert (found.row, found.caption, found.reason) == (0, "Image not available", "'Image not available'")


def test_common_beginnings_and_ends_are_phrases_and_the_longest_is_named(caption_set: CaptionSet) -> None:
    images = [[f"this is a photo of thing{number} by studio {number % 7}"] for number in range(30)]
    images += [[f"thing{number} seen from the side again in our stock"] for number in range(30)]
    found = list(find_phrases(caption_set(train=images)))
    assert {one.reason for one in found} == {
        "the beginning 'this is a photo of', at 50.0 % of 60 images",
        "the end 'the side again in our stock', at 50.0 % of 60 images",
    }


def test_ordinary_beginnings_are_no_phrases(caption_set: CaptionSet) -> None:
    images = [[f"A man in a {number} shirt with {number} hats"] for number in range(4)]
    images += [[f"{number} dogs run through {number} fields"] for number in range(40)]
    assert not list(find_phrases(caption_set(train=images)))
