"""How often each word occurs in training captions, and how long the captions are."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from showtell.data.prepared import PreparedSet


@dataclass(frozen=True)
class WordCounts:
    """Counts over some captions."""

    lengths: Counter[int]  # captions by their number of tokens
    words: Counter[str]

    def unknown_fraction(self, min_count: int, known: set[str]) -> float:
        """Return the fraction of the words that are neither known nor frequent enough for a vocabulary."""
        unknown = sum(n for word, n in self.words.items() if n < min_count and word not in known)
        return unknown / max(1, self.words.total())

    def new_words(self, min_count: int, known: set[str]) -> list[str]:
        """Return the words that are frequent enough and not known, the most frequent first."""
        words = [word for word, n in self.words.items() if n >= min_count and word not in known]
        return sorted(words, key=lambda word: (-self.words[word], word))

    def length_quantile(self, fraction: float) -> int:
        """Return the smallest length that this fraction of the captions does not exceed."""
        lengths = np.repeat(list(self.lengths), list(self.lengths.values()))
        return int(np.quantile(lengths, fraction, method="inverted_cdf"))


def count_words(captions: Iterable[str], split: Callable[[str], list[str]]) -> WordCounts:
    """Count the tokens of captions, as ``split`` returns them."""
    lengths, words = Counter[int](), Counter[str]()
    for text in captions:
        tokens = split(text)
        lengths[len(tokens)] += 1
        words.update(tokens)
    return WordCounts(lengths, words)


def training_captions(prepared: PreparedSet, *, subset: int = 0) -> Iterator[str]:
    """Yield the captions of the training images, or of at most ``subset`` of them."""
    for row in prepared.split_rows("train", subset=subset):
        yield from prepared.captions(int(row))
