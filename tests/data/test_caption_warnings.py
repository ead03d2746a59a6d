"""Each warning has a threshold, the numbers that it is about, and what to do."""

from __future__ import annotations

import pytest

from showtell.config.recipe import load_recipe
from showtell.data import caption_warnings as warn
from showtell.errors import ConfigError


def test_captions_that_are_cut() -> None:
    assert warn.long_captions(10, 100, 25, 20) is None
    assert warn.long_captions(40, 40, 57, 20) == (
        "40 of 40 training captions are longer than data.max_tokens=20, which cuts them without an end: "
        "--set data.max_tokens=60 --set generation.max_tokens=60 takes all"
    )
    longest = warn.long_captions(11, 100, 1_234, 200)
    assert longest is not None
    assert longest.endswith("generation.max_tokens=200 takes the most, the longest has 1,234 tokens")


def test_the_limit_that_is_advised_is_the_largest_that_a_recipe_takes() -> None:
    limit = warn.TOKEN_LIMIT
    keys = ("data.max_tokens", "generation.max_tokens")
    recipe = load_recipe("demo", [f"{key}={limit}" for key in keys])
    assert recipe.data.max_tokens == recipe.generation.max_tokens == limit
    for key in keys:
        with pytest.raises(ConfigError):
            load_recipe("demo", [f"{key}={limit + 1}"])


def test_words_that_the_vocabulary_lacks() -> None:
    assert warn.unknown_words(2_500, 0.1, 5, distinct=7_000, dev=0.1) is None
    assert warn.unknown_words(6, 0.25, 5, distinct=40) == (
        "the vocabulary has 6 words with tokenizer.min_count=5, and 25.0 % of the words of the training captions are "
        "unknown: --set tokenizer.min_count=1 knows all 40"
    )
    without_number = warn.unknown_words(6, 0.25, 5)
    assert without_number is not None
    assert without_number.endswith("--set tokenizer.min_count=1 knows all")
    assert warn.unknown_words(2_500, 0.02, 1, dev=0.3) == (
        "the vocabulary has 2,500 words with tokenizer.min_count=1, and 30.0 % of the words of the validation "
        "captions are unknown: add captions, or split words into pieces with --set tokenizer.kind=bpe"
    )
    limited = warn.unknown_words(500, 0.2, 1)
    assert limited is not None
    assert "20.0 % of the words of the training captions" in limited


def test_words_that_the_vocabulary_of_an_earlier_captioner_lacks() -> None:
    assert warn.unknown_to_initial(0.1) is None
    assert warn.unknown_to_initial(0.4) == (
        "the vocabulary of training.init_from lacks 40.0 % of the words of the training captions: "
        "--set training.extend_vocabulary=true adds the frequent ones"
    )


def test_a_vocabulary_of_a_few_words() -> None:
    assert warn.unknown_words(20, 0.0, 5) is None
    few = warn.unknown_words(4, 0.0, 5)
    assert few is not None
    assert few.startswith(
        "the vocabulary has 4 words with tokenizer.min_count=5: a captioner learns whole sentences"
    )


def test_labels_and_scripts_without_spaces() -> None:
    assert warn.single_words(2) is None
    assert "a single word" in (warn.single_words(1) or "")
    assert warn.unspaced_captions(8, 16) is None
    assert warn.unspaced_captions(9, 16) == (
        "9 of 16 training captions have no spaces between words, so that whole sentences become words: "
        "--set tokenizer.kind=icu finds the words (pip install -e '.[languages]'), --set tokenizer.kind=characters "
        "takes each character"
    )


@pytest.mark.parametrize("kind", ["icu", "characters", "bpe"])
def test_the_tokenizers_that_are_advised_exist(kind: str) -> None:
    assert load_recipe("demo", [f"tokenizer.kind={kind}"]).tokenizer.kind == kind


def test_a_split_too_small_for_cider() -> None:
    assert warn.few_images("dev", 50, generated=True) is None
    assert warn.few_images("dev", 1, generated=True) == (
        "dev has 1 image, and CIDEr-D, which takes the weights of words from the split, is always 0: validate by "
        "--set validation.metric=loss, or prepare with a larger --dev-fraction"
    )
    found = warn.few_images("test", 49, generated=False) or ""
    assert found.startswith("test has 49 images, and CIDEr-D")
    assert found.endswith(": prepare with a larger --test-fraction and --make-split all")
    found = warn.few_images("holdout", 3, generated=False) or ""
    assert found.endswith("validation.metric=loss, or hold more images out with a larger --holdout")


def test_a_set_without_dev_split() -> None:
    assert warn.no_dev(["train", "dev"]) is None
    assert warn.no_dev(["test"]) is None
    assert "--make-split train" in (warn.no_dev(["train", "test"]) or "")


def test_a_caption_of_many_images() -> None:
    assert warn.frequent_caption("A dog.", 4, 8) is None
    assert warn.frequent_caption("A dog.", 9, 100) is None
    assert warn.frequent_caption("No image " * 20, 16, 16) == (
        f"one caption is at 16 of 16 images, '{('No image ' * 20)[:59].rstrip()}…'. Remove it from the source unless "
        "it describes them"
    )


def test_splits_that_repeat_their_captions_differently() -> None:
    assert warn.unequal_repeats({}) is None
    assert warn.unequal_repeats({"train": 0.5, "dev": 0.4}) is None
    assert warn.unequal_repeats({"train": 0.1, "dev": 0.6}) == (
        "captions repeat within images, 10.0 % in train, 60.0 % in dev: scores of these splits do not compare. Split "
        "again with --make-split all"
    )
