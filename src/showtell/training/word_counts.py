"""How often each word occurs in training captions, and how long the captions are."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from showtell.data.prepared import PreparedSet
from showtell.tokenizer import Kind, Tokenizer


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


def count_words(prepared: PreparedSet, kind: Kind, *, subset: int = 0) -> WordCounts:
    """Count over the training captions of all images, or of ``subset`` of them."""
    rows = prepared.split_rows("train", subset=subset)

    def captions() -> Iterator[str]:
        for row in rows:
            yield from prepared.captions(int(row))

    tokenizer = Tokenizer.fit(captions(), kind=kind, min_count=1)
    lengths, ids = Counter[int](), Counter[int]()
    for text in captions():
        encoded = tokenizer.encode(text)
        lengths[len(encoded)] += 1
        ids.update(encoded)
    tokens = tokenizer.tokens
    return WordCounts(lengths, Counter({tokens[index]: count for index, count in ids.items()}))
