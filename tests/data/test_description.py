"""The description of a prepared set: what was read, how it repeats, and what to change before training."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from showtell.data import description
from showtell.data.description import describe
from showtell.data.prepared import PreparedSet

CaptionSet = Callable[..., PreparedSet]


def warnings(prepared: PreparedSet) -> list[str]:
    lines = describe(prepared, width=100)
    return [line.removeprefix("warning: ") for line in lines if line.startswith("warning: ")]


SUBJECTS = ("dog", "cat", "bird", "horse", "boy", "girl")
PLACES = ("field", "street", "beach", "room")
COLORS = ("red", "green", "blue", "white")


def varied(count: int, start: int = 0) -> list[list[str]]:
    """Captions of ``count`` images, no two of them equal, with words that are frequent."""
    images = []
    for number in range(start, start + count):
        subject, place = SUBJECTS[number % 6], PLACES[number // 6 % 4]
        marks = " ".join(COLORS[number // 4**place % 4] for place in range(4))
        images.append(
            [f"A {subject} with {marks} marks runs in a {place} .", f"There is a {subject} , {marks} ."]
        )
    return images


def test_a_good_set_is_described_in_few_lines_without_warnings(caption_set: CaptionSet) -> None:
    prepared = caption_set(train=varied(150), dev=varied(50, start=150))
    lines = describe(prepared, width=60)
    assert lines == [
        "split   images  captions  words (median)  words (95 %)  words (most)",
        "train      150       300               8            12            12",
        "dev         50       100               8            12            12",
        "Examples:",
        "  train  37.png",
        "         A cat with green green blue red marks runs in a be…",
        "         There is a cat , green green blue red .",
        "  train  112.png",
        "         A boy with red red white green marks runs in a bea…",
        "         There is a boy , red red white green .",
        "  dev    175.png",
        "         A cat with white white blue blue marks runs in a s…",
        "         There is a cat , white white blue blue .",
        "Vocabulary: 21 words with tokenizer.min_count=5, 21 with 1. "
        "Unknown words: 0.0 % of train's, 0.0 % of dev's.",
        f"{prepared.directory}: jsonl, fingerprint {prepared.fingerprint[:12]}",
    ]


def test_notes_and_problems_come_before_the_examples(caption_set: CaptionSet) -> None:
    prepared = caption_set(train=[["A dog .", "A dog ."]])
    prepared.manifest["notes"] = ["A note"]
    lines = describe(prepared, width=80)
    assert lines[2:6] == [
        "A note.",
        "Problems (all in problems.jsonl; bad entries were left out):",
        "        1  duplicate-caption: captions that an image has twice (kept)",
        "           0.png: A dog .",
    ]
    assert lines[6] == "Examples:"


def test_examples_are_shortened_to_the_width_and_show_hidden_characters(caption_set: CaptionSet) -> None:
    hostile = "A \x1b[31mdog\tand \u202ecat " + "words " * 50
    wide = "一只棕色的狗在草地上奔跑" * 10
    prepared = caption_set(train=[[hostile, wide, "third", "fourth"]])
    lines = describe(prepared, width=40)
    place = lines.index("  train  0.png")
    assert lines[place + 1] == "         A \\x1b[31mdog\\tand \\u202ecat w…"
    assert lines[place + 2] == "         " + "一只棕色的狗在草地上奔跑一只棕" + "…"
    assert lines[place + 3] == "         ... and 2 more"
    assert all(line.isprintable() for line in lines)


def test_three_examples_whatever_the_splits(caption_set: CaptionSet) -> None:
    def examples(prepared: PreparedSet) -> list[str]:
        lines = describe(prepared, width=80)
        return [line.split()[0] for line in lines if line.endswith(".png")]

    one, two = [["A dog ."]], [["A dog ."], ["A cat ."]]
    assert examples(caption_set(train=varied(9), dev=one, test=varied(3, 9))) == ["train", "dev", "test"]
    assert examples(caption_set(train=one, dev=one)) == ["train", "dev"]
    assert examples(caption_set(test=two, dev=one)) == ["dev", "test"]


def test_vocabulary_and_unknown_words_are_at_the_default_threshold(caption_set: CaptionSet) -> None:
    train = [["A dog runs ."]] * 5 + [["A small cat sleeps ."]]
    lines = describe(caption_set(train=train, dev=[["A cat runs ."]]), width=80)
    expected = "Vocabulary: 3 words with tokenizer.min_count=5, 6 with 1. "
    assert f"{expected}Unknown words: 15.8 % of train's, 33.3 % of dev's." in lines


def test_repetitions_are_counted(caption_set: CaptionSet) -> None:
    lines = describe(caption_set(train=[["A dog .", "A dog ."], ["A dog .", "A cat ."]]), width=80)
    assert "Repeats: 'A dog .' is at 2 of 2 images." in lines
    assert "Repeats: the captions of 1 of 2 images are all equal." in lines


def test_what_the_normal_form_drops_is_shown_with_an_example(caption_set: CaptionSet) -> None:
    lines = describe(caption_set(train=[["A dog • a cat"], ["A • • b"], ["A dog , a cat ."]]), width=80)
    place = lines.index("The normal form drops parts of 2 captions: • (2), such as in")
    assert lines[place + 1] == "         A dog • a cat"


def test_a_set_without_training_images_is_described(caption_set: CaptionSet) -> None:
    prepared = caption_set(dev=[["A dog ."]], test=[["A cat ."]])
    assert not any(line.startswith("Vocabulary") for line in describe(prepared, width=80))


def test_long_captions_are_warned_of_with_the_limit_that_takes_them(caption_set: CaptionSet) -> None:
    report = " ".join(["a dog with a red ball"] * 7)
    found = warnings(caption_set(train=[[f"{report} {number}"] for number in range(50)], dev=varied(50)))
    assert any(
        text.startswith("50 of 50 training captions are longer than data.max_tokens=20")
        and "--set data.max_tokens=50 --set generation.max_tokens=50 takes all" in text
        for text in found
    )


def test_few_long_captions_are_counted_without_a_warning(caption_set: CaptionSet) -> None:
    prepared = caption_set(train=[*varied(149), ["a dog " * 15]], dev=varied(50, start=150))
    assert "1 of 299 training captions are longer than data.max_tokens=20." in describe(prepared, width=80)
    assert warnings(prepared) == []


def test_a_vocabulary_of_a_few_words_is_warned_of(caption_set: CaptionSet) -> None:
    train = [[f"this is a thing{number} in front of the house{number}"] for number in range(20)]
    [found] = warnings(caption_set(train=train, dev=varied(50)))
    assert found == (
        "the vocabulary has 7 words with tokenizer.min_count=5, and 22.2 % of the words of the training captions are "
        "unknown: shipped recipes follow it (training.adapt) and need no change; in a recipe that does not, "
        "--set tokenizer.min_count=1 knows all 47"
    )


def test_the_vocabulary_of_a_large_set_is_not_said_to_be_adapted(
    caption_set: CaptionSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = [[f"this is a thing{number} in front of the house{number}"] for number in range(20)]
    monkeypatch.setattr(description, "MAX_ADAPTED", 19)
    [found] = warnings(caption_set(train=train, dev=varied(50)))
    assert found.endswith(
        "words of the training captions are unknown: --set tokenizer.min_count=1 knows all 47"
    )


def test_scripts_without_spaces_are_warned_of_instead_of_their_words(caption_set: CaptionSet) -> None:
    train = [[f"一只棕色的狗在草地上奔跑{character}"] for character in "一二三四五六七八"]
    found = warnings(caption_set(train=train, dev=varied(50)))
    assert len(found) == 1
    assert found[0].startswith("8 of 8 training captions have no spaces between words")


def test_one_caption_at_all_images_and_a_tiny_split_are_warned_of(caption_set: CaptionSet) -> None:
    canned = "Quality issues are too severe to recognize visual content."
    found = warnings(caption_set(train=[[*captions, canned] for captions in varied(149)], dev=[[canned]]))
    assert found[0].startswith("dev has 1 image, and CIDEr-D")
    assert found[1].startswith(f"one caption is at 150 of 150 images, '{canned}'. Remove it from the source")
    assert len(found) == 2


def test_splits_with_other_repetitions_are_warned_of(caption_set: CaptionSet) -> None:
    dev = [
        [captions[0]] * 5 if number % 2 else captions for number, captions in enumerate(varied(60, start=150))
    ]
    [found] = warnings(caption_set(train=varied(150), dev=dev))
    assert found.startswith("captions repeat within images, 0.0 % in train, 71.4 % in dev")


def test_labels_are_warned_of(caption_set: CaptionSet) -> None:
    train = [[f"{subject} "] for subject in SUBJECTS * 10]
    found = warnings(caption_set(train=train, dev=varied(50)))
    assert any(text.startswith("at least half of the training captions are a single word") for text in found)
