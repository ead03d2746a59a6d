"""How captions read: what repeats, breaks off, is unknown or was said before."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from showtell.data.prepared import PreparedSet
from showtell.export.evaluate import read_training_captions
from showtell.metrics.caption_stats import TITLES, TrainingCaptions, ends_badly, measure, repeats


@pytest.mark.parametrize(
    "caption",
    [
        "a dog runs runs on grass",
        "a man and a man on a bike",
        "a man in a red shirt and a red hat",
        "two people on a rock on a rock",
        "in front of a lake in front",
        "the the",
    ],
)
def test_a_word_behind_itself_and_a_phrase_said_twice_repeat(caption: str) -> None:
    assert repeats(caption.split())


@pytest.mark.parametrize(
    "caption",
    [
        "",
        "dog",
        "a dog in the grass in the sun",
        "a black dog and a brown dog",
        "a boy with a ball and a girl with a bat",
        "a man next to the car next",
    ],
)
def test_words_that_join_others_may_come_twice(caption: str) -> None:
    assert not repeats(caption.split())


@pytest.mark.parametrize("caption", ["a dog on a", "a group of", "a man and", "a dog is", "a boy in his", ""])
def test_a_sentence_that_breaks_off_ends_badly(caption: str) -> None:
    assert ends_badly(caption.split())


@pytest.mark.parametrize(
    "caption", ["a dog jumps up", "a girl looks behind her", "people stand outside", "it"]
)
def test_words_that_people_end_on_are_no_bad_ending(caption: str) -> None:
    assert not ends_badly(caption.split())


def test_figures_are_shares_of_captions_and_counts_of_words() -> None:
    training = TrainingCaptions(["A dog runs .", "a red ball", "<unk> here"])
    captions = ["a dog runs", "A dog runs .", "a dog on a", "a zebra zebra", "a <unk> ball"]
    quality = measure(captions, training)
    assert asdict(quality) == {
        "repeated": 1 / 5,
        "bad_ending": 1 / 5,
        "unknown": 3 / 5,  # on, zebra, <unk>
        "words": (3 + 3 + 4 + 3 + 3) / 5,
        "distinct_words": 7,
        "distinct_captions": 4 / 5,
        "unseen": 3 / 5,
    }
    assert quality.cells() == {
        "repeats %": "20.0",
        "bad endings %": "20.0",
        "unknown words %": "60.0",
        "words": "3.2",
        "distinct words": "7",
        "distinct captions %": "80.0",
        "unseen %": "60.0",
    }
    assert list(asdict(quality)) == list(TITLES)


def test_without_training_captions_nobody_knows_what_is_new() -> None:
    quality = measure(["a dog"], None)
    assert (quality.unknown, quality.unseen) == (None, None)
    assert quality.cells()["unseen %"] == "–"


def test_training_captions_are_those_of_the_training_split_alone(toy_set: PreparedSet) -> None:
    training = read_training_captions(toy_set)
    assert training is not None
    assert training.captions == {
        tuple(text.split()) for row in toy_set.split_rows("train") for text in toy_set.captions(int(row))
    }
    toy = PreparedSet.load(toy_set.directory)
    toy.manifest["splits"] = {"dev": toy.manifest["splits"]["dev"]}
    assert read_training_captions(toy) is None
