"""The captions of a prepared set in numbers: lengths, words, repetitions, and tokens that their normal form drops."""

import re
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import numpy.typing as npt

from showtell.data.prepared import PreparedSet
from showtell.data.validate import SPLITS
from showtell.text.caption_form import CaptionForm
from showtell.text.normal_form import UNSPACED, dropped_tokens, plain_normal_form

BUFFERED_WORDS = 100_000
MAX_DROPPED = 1_000
"""Distinct dropped tokens that are counted."""
LETTERS_PER_WORD = 5.0
"""More letters between spaces, in a script without them, are several words; a Chinese word has two."""

_UNSPACED = re.compile(f"[{UNSPACED}]")
_LONG_WORDS_BELOW = "\u2e80"
"""Words of Thai, Lao, Burmese and Khmer are twice as long as those of the later scripts: a letter counts half."""
_SIGN = re.compile(r"""[^\w\s.,!?;:'"()-]""")
"""Only signs are dropped, or all of a caption."""
_FORM = CaptionForm("words")


class WordCounts:
    """How often each word occurs, by 64-bit hashes of the words: 16 bytes each, a tenth of a `Counter`'s.

    After `settle`, ``hashes`` int64 [N] ascending and ``counts`` int64 [N].
    """

    def __init__(self) -> None:
        self._recent = Counter[str]()
        self.hashes: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self.counts: npt.NDArray[np.int64] = np.empty(0, np.int64)

    def update(self, words: Iterable[str]) -> None:
        """Count some words."""
        self._recent.update(words)
        if len(self._recent) > BUFFERED_WORDS:
            self.settle()

    def settle(self) -> None:
        """Move all counts to the arrays."""
        size = len(self._recent)
        recent = np.fromiter(map(hash, self._recent), np.int64, size)
        counts = np.concatenate([self.counts, np.fromiter(self._recent.values(), np.int64, size)])
        self.hashes, places = np.unique(np.concatenate([self.hashes, recent]), return_inverse=True)
        self.counts = np.zeros(len(self.hashes), np.int64)
        np.add.at(self.counts, places, counts)
        self._recent.clear()

    def known(self, min_count: int) -> npt.NDArray[np.int64]:
        """Return the hashes of the words that occur at least ``min_count`` times, int64 [V]."""
        return self.hashes[self.counts >= min_count]

    def unknown_fraction(self, known: npt.NDArray[np.int64]) -> float:
        """Return the fraction of the words whose hash is not in ``known``, int64 [V]."""
        unknown = self.counts[~np.isin(self.hashes, known, assume_unique=True)].sum()
        return float(unknown / max(1, self.counts.sum()))


@dataclass
class SplitSummary:
    """The captions of a split; words are those of a word vocabulary."""

    images: int = 0
    lengths: Counter[int] = field(default_factory=Counter)  # captions by their number of words
    words: WordCounts = field(default_factory=WordCounts)
    unspaced: int = 0  # captions in a script without spaces that are not split into words
    several: int = 0  # images with several captions
    uniform: int = 0  # of them, those whose captions are all equal
    repeated: int = 0  # captions that their image has more than once

    @property
    def captions(self) -> int:
        """Number of captions."""
        return self.lengths.total()

    @property
    def longest(self) -> int:
        """Words of the longest caption."""
        return max(self.lengths, default=0)

    def length_quantile(self, fraction: float) -> int:
        """Return the smallest length in words that this fraction of the captions does not exceed."""
        lengths = sorted(self.lengths)
        below = np.cumsum([self.lengths[length] for length in lengths])
        return lengths[int(np.searchsorted(below, fraction * below[-1]))]

    def longer_than(self, limit: int) -> int:
        """Return the number of captions of more words."""
        return sum(count for length, count in self.lengths.items() if length > limit)

    def add(self, captions: list[str], words: list[list[str]]) -> None:
        """Add an image's captions and the words of each."""
        self.images += 1
        self.lengths.update(map(len, words))
        self.words.update(chain.from_iterable(words))
        if len(captions) > 1:
            self.several += 1
            if len(set(captions)) < len(captions):
                self.uniform += len(set(captions)) == 1
                self.repeated += sum(count for count in Counter(captions).values() if count > 1)


@dataclass
class CaptionSummary:
    """The captions of a prepared set, by split and together."""

    splits: dict[str, SplitSummary]
    images: int = 0
    dropped: Counter[str] = field(default_factory=Counter)  # captions by a token that their normal form drops
    dropping: int = 0  # captions that lose a token
    dropping_example: str = ""
    frequent: str = ""  # the caption that most images have
    frequent_images: int = 0  # images that have it


def summarize(prepared: PreparedSet) -> CaptionSummary:
    """Read all captions of a prepared set once; memory is 16 bytes per distinct word and per image's caption."""
    summary = CaptionSummary(
        {split: SplitSummary() for split in SPLITS if split in prepared.manifest["splits"]}
    )
    hashes = array("q")
    for row, captions in enumerate(prepared.iterate_captions()):
        split = summary.splits[prepared.split(row)]
        words = []
        for text in captions:
            if (plain := plain_normal_form(text)) is not None:
                words.append(plain.split())
            else:
                normalized = _FORM.normalize(text)
                words.append(_FORM.split(normalized))
                split.unspaced += is_unspaced(normalized)
            if not words[-1] or (plain is None and _SIGN.search(text)):
                _add_dropped(summary, text)
        split.add(captions, words)
        hashes.extend({hash(text) for text in captions})
    for split in summary.splits.values():
        split.words.settle()
    summary.images = len(prepared)
    frequent, summary.frequent_images = _most_frequent(hashes)
    summary.frequent = next(
        text for captions in prepared.iterate_captions() for text in captions if hash(text) in frequent
    )
    return summary


def is_unspaced(text: str) -> bool:
    """Return whether a normalized caption is in a script without spaces and is not split into words."""
    letters = _UNSPACED.findall(text)
    words = sum(_UNSPACED.search(word) is not None for word in text.split())
    return sum(0.5 if letter < _LONG_WORDS_BELOW else 1.0 for letter in letters) > LETTERS_PER_WORD * words


def _add_dropped(summary: CaptionSummary, text: str) -> None:
    tokens = set(dropped_tokens(text))
    if tokens:
        summary.dropping += 1
        summary.dropping_example = summary.dropping_example or text
        summary.dropped.update(
            token for token in tokens if token in summary.dropped or len(summary.dropped) < MAX_DROPPED
        )


def _most_frequent(hashes: "array[int]") -> tuple[set[int], int]:
    """Return the most frequent of some hashes (one, if all differ) and how often they occur; sorts them in place."""
    ordered = np.frombuffer(hashes, np.int64)
    ordered.sort()
    equal = (ordered[1:] == ordered[:-1]).astype(np.int8)
    edges = np.flatnonzero(np.diff(equal, prepend=0, append=0))  # starts and ends of runs of equal pairs
    if not len(edges):
        return {int(ordered[0])}, 1
    starts, runs = edges[::2], edges[1::2] - edges[::2] + 1
    return set(ordered[starts[runs == runs.max()]].tolist()), int(runs.max())
