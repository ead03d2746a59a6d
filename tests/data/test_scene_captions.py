"""Captions of drawn scenes: what is written is true, and what is false is found."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.data.scene_captions import (
    CAPTIONS_PER_SCENE,
    COLORS,
    KINDS,
    WORDINGS,
    Scene,
    SceneObject,
    check_caption,
    named_objects,
    relations,
    write_captions,
)
from showtell.data.scenes import make_scene

RING = SceneObject("ring", "red", "small", row=0, column=0)
STAR = SceneObject("star", "blue", "large", row=2, column=1)
SQUARE = SceneObject("square", "orange", "small", row=1, column=1)
TWO = Scene("two", (RING, STAR))
THREE = Scene("three", (RING, STAR, SQUARE))


def made_up(seed: int) -> Scene:
    return make_scene(f"scene {seed}", "train", random.Random(seed))


@given(st.integers(0, 10_000))
def test_every_written_caption_is_true_and_names_all_objects(seed: int) -> None:
    scene = made_up(seed)
    captions = write_captions(scene, random.Random(seed))
    assert len(set(captions)) == CAPTIONS_PER_SCENE
    for caption in captions:
        assert check_caption(caption, scene) == []
        assert named_objects(caption) == {thing.name for thing in scene.objects}


@given(st.integers(0, 10_000))
def test_a_changed_color_kind_or_relation_is_found(seed: int) -> None:
    scene, generator = made_up(seed), random.Random(seed)
    truth = {thing.name for thing in scene.objects}
    for caption in write_captions(scene, generator):
        words = caption.lower().rstrip(".").split()
        for index, word in enumerate(words):
            for group in (COLORS, KINDS):
                if word in group:
                    other = generator.choice([choice for choice in group if choice != word])
                    changed = [*words[:index], other, *words[index + 1 :]]
                    assert check_caption(" ".join(changed), scene) != []
                    if index and words[index - 1] in COLORS:
                        assert f"{words[index - 1]} {other}" in truth or any(
                            f"there is no {words[index - 1]} {other}" == wrong
                            for wrong in check_caption(" ".join(changed), scene)
                        )
            swap = {"above": "below", "below": "above", "over": "under", "under": "over"}.get(word)
            if swap:
                assert check_caption(" ".join([*words[:index], swap, *words[index + 1 :]]), scene) != []


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_caption_of_another_scene_is_wrong(seed: int, other: int) -> None:
    scene, elsewhere = made_up(seed), made_up(other)
    names = {thing.name for thing in scene.objects}
    if not {thing.name for thing in elsewhere.objects} <= names:
        for caption in write_captions(elsewhere, random.Random(other)):
            assert check_caption(caption, scene) != []


@pytest.mark.parametrize(
    "caption",
    [
        "A red ring is left of a blue star.",
        "a red ring above a large blue star",
        "the blue star is under the small red ring",
        "to the right of a red ring there is a blue star",
        "There is a red ring at the top left and a blue star below it.",
        "there is a red ring at the top left",
        "a red ring at the top left with a large blue star at the bottom centre",
        "at the bottom centre there is a blue star to the right of a red ring",
    ],
)
def test_true_captions_pass(caption: str) -> None:
    assert check_caption(caption, TWO) == []


@pytest.mark.parametrize(
    ("caption", "wrong"),
    [
        ("a red ring is right of a blue star", "the red ring is not right of the blue star"),
        ("a red ring under a blue star", "the red ring is not under the blue star"),
        ("a green ring above a blue star", "there is no green ring"),
        ("a red star above a blue ring", "there is no red star"),
        ("a large red ring above a blue star", "the red ring is not large"),
        ("there is a red ring at the top right", "the red ring is not at the top right"),
        (
            "a red ring at the middle centre with a blue star below it",
            "the red ring is not at the middle centre",
        ),
        (
            "there is a red ring at the top left and a blue star above it",
            "the blue star is not above the red ring",
        ),
        (
            "to the left of a red ring there is a blue star",
            "the blue star is not to the left of the red ring",
        ),
        ("a red ring above a red ring", "the red ring is named twice"),
        ("a red ring above an orange square", "there is no orange square"),
    ],
)
def test_each_wrong_fact_is_reported(caption: str, wrong: str) -> None:
    assert wrong in check_caption(caption, TWO)


@pytest.mark.parametrize(
    "caption",
    [
        "",
        "a red",
        "a red ring",
        "red ring above blue star",
        "a dog",
        "a red ring above",
        "a redring above a blue star",
        "a red ring is left of a blue star and",
        "with a red ring at the top",
        "a red ring at the top a blue star",
        "a red ring <script> above a blue star",
        "a red ring above a blue starfish",
        "it is above a blue star",
    ],
)
def test_what_is_no_sentence_is_wrong(caption: str) -> None:
    assert check_caption(caption, TWO) == ["it is not a sentence about a scene"]
    assert named_objects(caption) == set()


def test_a_third_object_may_be_left_out_but_counts_as_not_named() -> None:
    caption = "a red ring above a blue star"
    assert check_caption(caption, THREE) == []
    assert named_objects(caption) == {"red ring", "blue star"}


def test_objects_in_one_row_or_column_stand_in_one_relation_only() -> None:
    assert relations(RING, STAR) == ["above", "left"]
    assert relations(STAR, SQUARE) == ["below"]
    assert relations(SQUARE, STAR) == ["above"]


def test_wordings_are_different() -> None:
    scene = made_up(1)
    drawn = {caption for seed in range(200) for caption in write_captions(scene, random.Random(seed))}
    assert len(WORDINGS) >= CAPTIONS_PER_SCENE
    assert len(drawn) > 40


@pytest.mark.parametrize(
    ("caption", "is_right"),
    [
        ("a large red ring above a blue star", True),
        ("there is a red ring at the bottom right and a blue star below it", True),
        ("a red ring under a blue star", False),
        ("a green ring above a blue star", False),
    ],
)
def test_sizes_and_places_are_details(caption: str, is_right: bool) -> None:
    assert (check_caption(caption, TWO, details=False) == []) is is_right
    assert check_caption(caption, TWO) != []
