"""N-gram counts of many captions as flat arrays, so that BLEU and CIDEr-D are a few sorts and joins.

Words are integers, and an n-gram is one: its first n - 1 words' integer and its last word's, packed and numbered.
Candidates share the numbers of the references; their other n-grams get new numbers. Nothing is hashed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import numpy.typing as npt

ORDERS = 4
WORD_BITS = 24
NGRAM_BITS = 32
NGRAM_MASK = (1 << NGRAM_BITS) - 1

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Captions:
    """Many captions, concatenated."""

    words: Integers  # numbers below 2^24 [words]
    lengths: Integers  # words of each caption [captions]

    @classmethod
    def of(cls, captions: Sequence[Sequence[int]]) -> "Captions":
        """Concatenate captions."""
        lengths = np.fromiter(map(len, captions), np.int64, len(captions))
        return cls(np.fromiter(chain.from_iterable(captions), np.int64, int(lengths.sum())), lengths)

    def __len__(self) -> int:
        return len(self.lengths)


@dataclass(frozen=True)
class NgramCounts:
    """How often each caption holds each n-gram of one order."""

    caption: Integers  # number of the caption [entries]
    ngram: Integers  # number of the n-gram [entries]
    count: Integers  # at least 1 [entries]
    fresh: Integers  # where newly numbered n-grams begin in the words, in the order of their numbers [new]


@dataclass(frozen=True)
class NgramTable:
    """N-gram counts of captions, orders 1 to 4, and the captions."""

    orders: tuple[NgramCounts, ...]
    captions: Captions

    @property
    def lengths(self) -> Integers:
        """Words of each caption. int64 [captions]"""
        return self.captions.lengths


@dataclass(frozen=True)
class RefNgramGroups:
    """The entries of the references that are the same n-gram of the same image, for one order."""

    key: Integers  # image and n-gram, see `join`; ascending [groups]
    start: Integers  # where each group begins among the entries [groups]
    size: Integers  # its entries: references that hold the n-gram [groups]


class NgramIndex:
    """The numbered n-grams of all references, which come image by image; ``per_image`` int64 [P] counts them.

    The entries of ``references`` are sorted by image, n-gram and caption; ``groups`` has an element for each order.
    """

    def __init__(self, references: Captions, per_image: Integers) -> None:
        self.num_images = len(per_image)
        self.references_per_image = per_image
        self.first_reference: Integers = np.cumsum(per_image) - per_image  # [P]
        self._known: list[Integers] = []
        image = np.repeat(np.arange(self.num_images), per_image)  # [references]
        slot = ragged_arange(per_image)
        bits = int(per_image.max(initial=1) - 1).bit_length()
        if self.num_images >> (63 - NGRAM_BITS - bits):
            raise OverflowError(f"{self.num_images} images of up to {1 << bits} references")
        self.groups: list[RefNgramGroups] = []
        orders = []
        for caption, ngram, fresh in self._number(references, learn=True):
            key, count = _count((join(image[caption], ngram) << bits) | slot[caption])
            slots, key = key & ((1 << bits) - 1), key >> bits
            start = group_starts(key)
            self.groups.append(RefNgramGroups(key[start], start, run_lengths(start, len(key))))
            entries = self.first_reference[key >> NGRAM_BITS] + slots
            orders.append(NgramCounts(entries, key & NGRAM_MASK, count, fresh))
        self.references = NgramTable(tuple(orders), references)

    @cached_property
    def highest_counts(self) -> list[Integers]:
        """For each order the highest count of each group's n-gram in one reference. [groups]"""
        return [
            np.maximum.reduceat(entries.count, groups.start) if len(groups.start) else groups.start
            for entries, groups in zip(self.references.orders, self.groups, strict=True)
        ]

    def count(self, captions: Captions) -> NgramTable:
        """Count the n-grams of other captions, in the same numbers; by caption and n-gram."""
        orders = []
        for caption, ngram, fresh in self._number(captions, learn=False):
            key, count = _count(join(caption, ngram))
            orders.append(NgramCounts(key >> NGRAM_BITS, key & NGRAM_MASK, count, fresh))
        return NgramTable(tuple(orders), captions)

    def frequencies(self) -> list[Integers]:
        """Return for each order the number of images whose references hold each n-gram. [n-grams]"""
        return [np.bincount(groups.key & NGRAM_MASK) for groups in self.groups]

    def forget_references(self) -> None:
        """Free the memory of the references; `count` still has the numbers of their n-grams."""
        self.references, self.groups = NgramTable((), Captions.of([])), []

    def find(self, candidates: NgramTable, order: int, images: Integers) -> tuple[Integers, Integers]:
        """Return the entries of candidates that references of their images hold, and their groups. [found], [found]

        The images are int64 [N], one for each candidate; ``order`` is that of the n-grams, less one.
        """
        entries, keys = candidates.orders[order], self.groups[order].key
        if not len(keys):
            return keys, keys
        wanted = join(images[entries.caption], entries.ngram)
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        found = np.flatnonzero(keys[place] == wanted)
        return found, place[found]

    def _number(self, captions: Captions, *, learn: bool) -> list[tuple[Integers, Integers, Integers]]:
        """Return for each order the caption and the number of each n-gram, and where new ones begin."""
        words, lengths = captions.words, captions.lengths
        caption = np.repeat(np.arange(len(lengths)), lengths)  # [words]
        left = np.repeat(lengths, lengths) - ragged_arange(lengths)
        start, ngrams = np.arange(len(words)), words
        orders = [(caption, words, start[:0])]
        for order in range(2, ORDERS + 1):
            whole = left[start] >= order
            start, ngrams = start[whole], ngrams[whole]
            keys = (ngrams << WORD_BITS) | words[start + order - 1]
            if learn:
                known, ngrams, first = numbered(keys)
                self._known.append(known)
            else:
                ngrams, first = _renumbered(keys, self._known[order - 2])
            orders.append((caption[start], ngrams, start[first]))
        return orders


class CandRefPairs:
    """Every candidate with each reference of its image, given the number of that image, int64 [N]."""

    def __init__(self, index: NgramIndex, images: Integers) -> None:
        number, starts = index.references_per_image[images], index.first_reference[images]
        self.first: Integers = np.cumsum(number) - number  # where each candidate's pairs begin [N]
        self.candidate: Integers = np.repeat(np.arange(len(images)), number)  # ascending [pairs]
        self.reference: Integers = np.repeat(starts, number) + ragged_arange(number)  # among all [pairs]
        self._shift = self.first - starts

    def place(self, candidate: Integers, reference: Integers) -> Integers:
        """Return the places of the pairs of these candidates and references."""
        return self._shift[candidate] + reference


def ragged_arange(lengths: Integers) -> Integers:
    """Return 0, 1, ... for each run of the given lengths: [2, 3] -> [0, 1, 0, 1, 2]."""
    return np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def join(caption: Integers, ngram: Integers) -> Integers:
    """Pack the number of a caption (or image) and of an n-gram into one sortable integer."""
    return (caption << NGRAM_BITS) | ngram


def _count(keys: Integers) -> tuple[Integers, Integers]:
    """Return the distinct keys, ascending, and their counts."""
    # Not np.unique, which hashes when no indices are asked and takes thirty times as long.
    keys = np.sort(keys)
    start = group_starts(keys)
    return keys[start], run_lengths(start, len(keys))


def numbered(keys: Integers) -> tuple[Integers, Integers, Integers]:
    """Return the distinct keys, ascending, each key's place among them, and where each is first."""
    order, keys = _sorted(keys)
    start = group_starts(keys)
    numbers = np.empty(len(keys), np.int64)
    numbers[order] = np.repeat(np.arange(len(start)), run_lengths(start, len(keys)))
    return keys[start], numbers, order[start]


def _sorted(keys: Integers) -> tuple[Integers, Integers]:
    """Return the stable sorting order of keys, and the sorted keys."""
    bits = len(keys).bit_length()
    if int(keys.max(initial=0)) >> (63 - bits):
        order = np.argsort(keys, kind="stable")
        return order, keys[order]
    # Sorting values takes a third of the time of np.argsort.
    packed = np.sort((keys << bits) | np.arange(len(keys)))
    return packed & ((1 << bits) - 1), packed >> bits


def _renumbered(keys: Integers, known: Integers) -> tuple[Integers, Integers]:
    """Return the places of keys among the known ones, others numbered above these, and where the others begin."""
    place = np.searchsorted(known, keys)
    new = np.flatnonzero(known[np.minimum(place, len(known) - 1)] != keys if len(known) else keys >= 0)
    _, numbers, first = numbered(keys[new])
    place[new] = len(known) + numbers
    return place, new[first]


def group_starts(values: Integers) -> Integers:
    """Return where each run of equal values begins."""
    change = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=change[1:])
    return np.flatnonzero(change)


def run_lengths(start: Integers, length: int) -> Integers:
    """Return the length of each run of values, given their starts and their total number."""
    lengths = np.empty_like(start)
    np.subtract(start[1:], start[:-1], out=lengths[:-1])
    lengths[-1:] = length - start[-1:]
    return lengths
