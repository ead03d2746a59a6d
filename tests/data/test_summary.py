"""Lengths, words, repetitions and dropped tokens of a prepared set's captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.data import summary as summary_module
from showtell.data.prepared import PreparedSet
from showtell.data.summary import SplitSummary, WordCounts, is_unspaced, summarize
from showtell.tokenizer import SPECIALS, Tokenizer

CaptionSet = Callable[..., PreparedSet]


words = st.lists(st.sampled_from(["a", "dog's", "dog", "runs", "50 %", "t-shirt", "Dogs,", "."]), max_size=8)
captions = st.lists(words.map(lambda parts: " ".join(["a", *parts])), min_size=1, max_size=4)


@given(st.lists(captions, min_size=1, max_size=6), st.integers(1, 3))
def test_words_and_unknown_fractions_are_those_of_a_vocabulary(
    images: list[list[str]], min_count: int
) -> None:
    texts = [text for captions in images for text in captions]
    counts = WordCounts()
    tokenizer = Tokenizer.fit(texts, min_count=1)
    for text in texts:
        counts.update(tokenizer.decode([index]) for index in tokenizer.encode(text))
    counts.settle()
    known = counts.known(min_count)
    frequency = Counter(index for text in texts for index in tokenizer.encode(text))
    assert len(known) == sum(count >= min_count for count in frequency.values())
    unknown = sum(count for count in frequency.values() if count < min_count)
    assert counts.unknown_fraction(known) == pytest.approx(unknown / frequency.total())


def test_counts_do_not_depend_on_when_they_are_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"word {number % 7} of {number}".split() for number in range(40)]
    counted = []
    for size in (2, 1_000):
        monkeypatch.setattr(summary_module, "BUFFERED_WORDS", size)
        counts = WordCounts()
        for text in texts:
            counts.update(text)
        counts.settle()
        counted.append(dict(zip(counts.hashes.tolist(), counts.counts.tolist(), strict=True)))
    expected = Counter(word for text in texts for word in text)
    assert counted[0] == counted[1] == {hash(word): count for word, count in expected.items()}


def test_a_set_is_counted_by_split_as_its_vocabulary_does(caption_set: CaptionSet) -> None:
    train = [["A man 's dog , 50 % wet .", "Dogs!"], ["a dog's ½ bone"]]
    prepared = caption_set(train=train, dev=[["A cat's dog ."]])
    summary = summarize(prepared)
    assert list(summary.splits) == ["train", "dev"]
    found, dev = summary.splits["train"], summary.splits["dev"]
    tokenizer = Tokenizer.fit([text for captions in train for text in captions], min_count=1)
    lengths = Counter(len(tokenizer.encode(text)) for captions in train for text in captions)
    assert found.lengths == lengths
    assert (found.images, found.captions, found.longest) == (2, 3, max(lengths))
    known = found.words.known(1)
    assert len(known) == tokenizer.size - len(SPECIALS)
    assert found.words.unknown_fraction(known) == 0.0
    assert dev.words.unknown_fraction(known) == pytest.approx(1 / 4)  # cat
    assert dev.words.unknown_fraction(known[:0]) == 1.0


@given(st.lists(st.integers(0, 12), min_size=1, max_size=40), st.sampled_from([0.0, 0.3, 0.5, 0.95, 1.0]))
def test_length_quantiles_equal_those_of_numpy(lengths: list[int], fraction: float) -> None:
    split = SplitSummary(lengths=Counter(lengths))
    expected = np.quantile(lengths, fraction, method="inverted_cdf")
    assert split.length_quantile(fraction) == int(expected)
    assert split.longer_than(6) == sum(length > 6 for length in lengths)


def test_repetitions_within_and_across_images(caption_set: CaptionSet) -> None:
    canned = "Quality issues are too severe ."
    train = [[canned, "A dog .", "A dog ."], [canned, "A cat ."], ["A cow .", "A cow ."], ["A cow ."]]
    summary = summarize(caption_set(train=train, dev=[[canned]]))
    assert (summary.frequent, summary.frequent_images, summary.images) == (canned, 3, 5)
    split = summary.splits["train"]
    assert (split.several, split.uniform, split.repeated) == (3, 1, 4)
    assert summary.splits["dev"].several == 0


def test_without_repetitions_any_caption_is_the_most_frequent(caption_set: CaptionSet) -> None:
    summary = summarize(caption_set(train=[["A dog ."], ["A cat ."]]))
    assert summary.frequent in {"A dog .", "A cat ."}
    assert summary.frequent_images == 1


def test_dropped_tokens_are_counted_with_an_example(caption_set: CaptionSet) -> None:
    images = [["A dog , a \u200bcat - and so on ."], ["!!"], ["A \u2022 dog \u2022 runs ."]]
    summary = summarize(caption_set(train=images))
    assert summary.dropped == {"!!": 1, "\u2022": 1}
    assert (summary.dropping, summary.dropping_example) == (2, "!!")


@pytest.mark.parametrize(
    ("text", "unspaced"),
    [
        ("a dog runs over green grass", False),
        ("一只棕色的狗在草地上奔跑", True),
        ("一只 棕色 的 狗 在 草地 上 奔跑", False),
        ("穿红色衣服的女孩 一只白色的小狗", True),
        ("犬が走る dog 芝生の上を走っている", True),
        ("สุนัขสีน้ำตาลกำลังวิ่งอยู่บนหญ้า", True),
        ("สุนัข สีน้ำตาล กำลัง วิ่ง อยู่ บน หญ้า", False),
        ("ដប់", False),
        ("eine Straße über Öl", False),
        ("갈색 개가 잔디밭에서 뛰고 있다", False),
        ("", False),
    ],
)
def test_scripts_without_spaces(text: str, unspaced: bool) -> None:
    assert is_unspaced(text) == unspaced


def test_of_equally_frequent_captions_the_first_is_named(caption_set: CaptionSet) -> None:
    captions = [f"A dog of kind {number} ." for number in range(20)]
    summary = summarize(caption_set(train=[[text] for text in (*captions, *reversed(captions))]))
    assert (summary.frequent, summary.frequent_images) == (captions[0], 2)
