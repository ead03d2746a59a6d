"""N-gram counts of many captions as flat arrays, so that BLEU and CIDEr-D are a few sorts and joins.

An n-gram is one integer: its first n - 1 words' integer and its last word's, packed and numbered. Captions that come
later share the numbers of the references and get new ones for what the references never said. Nothing is hashed:
equal integers are equal words.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ORDERS = 4
_WORD_BITS = 24
_CAPTION_BITS = 40
NGRAM_MASK = (1 << _CAPTION_BITS) - 1

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NgramCounts:
    """How often each caption holds each n-gram of one order.

    Args:
        caption: Number of the caption, ascending. int64 [entries]
        ngram: Number of the n-gram, ascending within a caption. int64 [entries]
        count: Its occurrences, at least 1. int64 [entries]
    """

    caption: Integers
    ngram: Integers
    count: Integers


@dataclass(frozen=True)
class NgramTable:
    """N-gram counts of a list of captions, orders 1 to 4, and their lengths in words (int64 [captions])."""

    orders: tuple[NgramCounts, ...]
    lengths: Integers


class NgramIndex:
    """The n-grams of all references, numbered, and which picture each reference belongs to.

    Args:
        references: Words (or their ids) of every reference of every picture, picture by picture.
    """

    def __init__(self, references: Sequence[Sequence[Sequence[Hashable]]]) -> None:
        self._words: dict[Hashable, int] = {}
        self._known: list[Integers] = []
        self.pictures = len(references)
        per_picture = np.array([len(captions) for captions in references], dtype=np.int64)
        self.picture: Integers = np.repeat(np.arange(self.pictures), per_picture)  # [references]
        self.references_per_picture: Integers = per_picture  # [P]
        flat, lengths = self._number(
            [caption for captions in references for caption in captions], self._words
        )
        self.references = self._table(flat, lengths, learn=True)

    def count(self, captions: Sequence[Sequence[Hashable]]) -> NgramTable:
        """Count the n-grams of other captions, in the same numbers."""
        strangers: dict[Hashable, int] = {}
        flat, lengths = self._number(captions, strangers)
        return self._table(flat, lengths, learn=False)

    def _number(
        self, captions: Iterable[Sequence[Hashable]], new: dict[Hashable, int]
    ) -> tuple[Integers, Integers]:
        """Return the word numbers of all captions in a row, and the captions' lengths; ``new`` takes new words."""
        known, numbers, lengths = self._words, [], []
        offset = 0 if new is known else len(known)
        for caption in captions:
            lengths.append(len(caption))
            for word in caption:
                number = known.get(word)
                numbers.append(new.setdefault(word, offset + len(new)) if number is None else number)
        return np.array(numbers, dtype=np.int64), np.array(lengths, dtype=np.int64)

    def _table(self, words: Integers, lengths: Integers, *, learn: bool) -> NgramTable:
        caption = np.repeat(np.arange(len(lengths)), lengths)  # [words]
        place = within_runs(lengths)
        left = np.repeat(lengths, lengths) - place
        orders, ngrams, start = [_count(caption, words)], words, np.arange(len(words))
        for order in range(2, ORDERS + 1):
            whole = left[start] >= order
            start, ngrams = start[whole], ngrams[whole]
            keys = (ngrams << _WORD_BITS) | words[start + order - 1]
            if learn:
                known, ngrams = np.unique(keys, return_inverse=True)
                self._known.append(known)
            else:
                ngrams = _renumber(keys, self._known[order - 2])
            orders.append(_count(caption[start], ngrams))
        return NgramTable(tuple(orders), lengths)


class Pairs:
    """Every candidate beside each reference of its picture.

    Args:
        index: The references.
        pictures: Number of the picture that each candidate is about, int64 [N].

    Attributes:
        candidate: Its number, ascending, int64 [pairs].
        reference: Number of the reference among all, int64 [pairs].
        first: Where each candidate's pairs begin, int64 [N].
    """

    def __init__(self, index: NgramIndex, pictures: Integers) -> None:
        number = index.references_per_picture[pictures]
        starts = (np.cumsum(index.references_per_picture) - index.references_per_picture)[pictures]
        self.first: Integers = np.cumsum(number) - number
        self.candidate: Integers = np.repeat(np.arange(len(pictures)), number)
        self.reference: Integers = np.repeat(starts, number) + within_runs(number)
        self._shift = self.first - starts

    def place(self, candidate: Integers, reference: Integers) -> Integers:
        """Return where the pairs of these candidates and references stand."""
        return self._shift[candidate] + reference


def within_runs(lengths: Integers) -> Integers:
    """Return 0, 1, ... for each run of the given lengths: [2, 3] -> [0, 1, 0, 1, 2]."""
    return np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def join(caption: Integers, ngram: Integers) -> Integers:
    """Pack the number of a caption (or picture) and of an n-gram into one sortable integer."""
    return (caption << _CAPTION_BITS) | ngram


def _count(caption: Integers, ngram: Integers) -> NgramCounts:
    keys, count = np.unique(join(caption, ngram), return_counts=True)
    return NgramCounts(keys >> _CAPTION_BITS, keys & NGRAM_MASK, count)


def _renumber(keys: Integers, known: Integers) -> Integers:
    """Return the places of keys among the sorted known ones; keys not there get numbers above them."""
    if not len(known):
        return np.unique(keys, return_inverse=True)[1].astype(np.int64)
    place = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    strange = known[place] != keys
    numbers = np.unique(keys[strange], return_inverse=True)[1]
    place[strange] = len(known) + numbers
    return place.astype(np.int64)
