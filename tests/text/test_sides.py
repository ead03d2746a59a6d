"""Captions of flipped images: directions change places, other senses of left and right do not."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.data.scene_captions import write_captions
from showtell.data.scenes import make_scene
from showtell.text.sides import mirror

SIDES = {"left": "right", "right": "left"}


def swap_all(text: str) -> str:
    return re.sub(r"\b(left|right)", lambda match: SIDES[match[0].lower()], text, flags=re.IGNORECASE)


@pytest.mark.parametrize(
    "text",
    [
        "nothing to swap",
        "left, then right.",
        "the dog on the Left runs right .",
        "the dog on right runs left, the cat on left runs right",
        "IŞIK is LEFT of it",
        "A man stands to the left of a tree in the park .",
        "A referee on left interrupts the match .",
        "The boy raises his left hand and his padded right arm .",
        "a red rock at top left of frame , a tree at lower right .",
        "the cup in right hand , water from left side of frame",
        "Two dogs look left and right , then a cat looks right .",
        "A car makes a left turn .",
        "the tabby licks its left front leg and her right pointer finger",
        "A man with a woman on his left and a man to his back right .",
        "the dog's left ear , the far right",
        "the leftmost bird flies rightward",
        "On the left behind the man there is a dog .",
        "a child faces left while a dog runs to the right in the snow",
        "skaters go from left to right",
        "the red right arrow",
        "a girl with her right arm up and left arm down",
        "right",
    ],
)
def test_directions_change_places(text: str) -> None:
    assert mirror(text) == swap_all(text)
    assert mirror(mirror(text)).lower() == text.lower()


@pytest.mark.parametrize(
    "text",
    [
        "a child eats right now",
        "the dog is right behind him , right in front of the house",
        "A right handed batter and a left-handed pitcher",
        "a man with long hair stares right in the camera",
        "A bench right next to some tall grass",
        "an old man leans right by the corner , right outside of the city",
        "a dog runs through the water right toward the camera",
        "she holds it right side up",
        "a car that has the right of way",
        "an animal rights sign",
        "the right way to hold a bat",
        "Ski equipment , left alone on a ski slope",
        "toys left behind by children",
        "A red airplane that has left a trail of smoke",
        "the only slice left .",
        "what is left of a sand castle",
        "the left over cake",
        "A plate is left on the table",
        "she left her bag",
        'the words " Look Right " painted on a street',
        "a sign saying look right .",
        "It is bright and frightened .",
        "for right now",
    ],
)
def test_other_senses_stay(text: str) -> None:
    assert mirror(text) == text


def test_each_sense_in_a_caption_is_its_own() -> None:
    # Left is a direction here, right may be none.
    assert mirror("a man looks left down the street") == "a man looks right down the street"
    assert mirror("a man looks right down the street") == "a man looks right down the street"
    assert mirror("a dog right behind a man on the right") == "a dog right behind a man on the left"
    assert mirror("左边的狗在右侧，左右") == "右边的狗在左侧，左右"


def test_all_sides_of_drawn_scenes_change_places() -> None:
    generator = random.Random(0)
    scenes = [make_scene(str(number), "train", generator) for number in range(60)]
    captions = [caption for scene in scenes for caption in write_captions(scene, generator)]
    assert sum("left" in caption or "right" in caption for caption in captions) > 60
    for caption in captions:
        assert mirror(caption) == swap_all(caption)


parts = st.sampled_from(["left", "right", " ", ",", '"', "the", "of", "'", "-", "now", "左", "右"])


@given(st.lists(parts, max_size=12).map("".join))
def test_only_sides_change(text: str) -> None:
    hidden = re.compile("left|right|左|右", re.IGNORECASE)
    assert hidden.sub("#", mirror(text)) == hidden.sub("#", text)


@pytest.mark.slow
def test_the_captions_of_flickr8k_keep_what_is_no_direction(shared_data: Path) -> None:
    lines = (shared_data / "data/flickr8k/Flickr8k.token.txt").read_text(encoding="utf-8").splitlines()
    captions = [line.split("\t", 1)[1] for line in lines]
    sided = [caption for caption in captions if re.search(r"\b(left|right)\b", caption, re.IGNORECASE)]
    kept = [caption for caption in sided if mirror(caption) != swap_all(caption)]
    # "left alone", "left behind", "has left a trail"; "right behind", "right where"; text in an image; a misspelling
    assert (len(sided), len(kept)) == (149, 16)
