"""BLEU, ROUGE-L and CIDEr-D as their definitions say, word by word, with dictionaries of tuples of words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from showtell.metrics.ptb_tokenizer import _BREAK, _lex

Ngrams = Counter[tuple[str, ...]]
ORDERS = range(1, 5)


def scores(
    references: Mapping[str, Sequence[str]], candidates: Mapping[str, str]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Return the scores of the corpus, and of each picture."""
    truth = {key: [tokens(text) for text in texts] for key, texts in references.items()}
    said = {key: tokens(candidates[key]) for key in references}
    words = {key: [split(caption) for caption in captions] for key, captions in truth.items()}
    ours = {key: split(caption) for key, caption in said.items()}
    seen = Counter(
        ngram
        for captions in words.values()
        for ngram in {ngram for caption in captions for order in ORDERS for ngram in ngrams(caption, order)}
    )
    counts = {key: bleu_counts(ours[key], words[key]) for key in references}
    each = {
        key: {
            **named(bleu(*counts[key])),
            "ROUGE-L": rouge(said[key], truth[key]),
            "CIDEr-D": cider(ours[key], words[key], seen, len(references)),
        }
        for key in references
    }
    together = [
        [sum(values) for values in zip(*column, strict=True)] if isinstance(column[0], list) else sum(column)
        for column in zip(*counts.values(), strict=True)
    ]
    means = {
        name: math.fsum(one[name] for one in each.values()) / len(each) for name in ("ROUGE-L", "CIDEr-D")
    }
    return {**named(bleu(*together)), **means}, each


def tokens(text: str) -> list[str]:
    return _lex(_BREAK.sub(" ", text))


def split(caption: Sequence[str]) -> list[str]:
    return " ".join(caption).split()


def ngrams(words: Sequence[str], order: int) -> Ngrams:
    return Counter(tuple(words[place : place + order]) for place in range(len(words) - order + 1))


def bleu_counts(
    words: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[list[int], list[int], int, int]:
    right, guess = [], []
    for order in ORDERS:
        most: Ngrams = Counter()
        for reference in references:
            most |= ngrams(reference, order)
        right.append((ngrams(words, order) & most).total())
        guess.append(max(len(words) - order + 1, 0))
    nearest = min((abs(len(reference) - len(words)), len(reference)) for reference in references)[1]
    return right, guess, len(words), nearest


def bleu(right: Sequence[int], guess: Sequence[int], length: int, nearest: int) -> list[float]:
    product, found = 1.0, []
    for order in ORDERS:
        product *= (right[order - 1] + 1e-15) / (guess[order - 1] + 1e-9)
        found.append(product ** (1 / order))
    ratio = (length + 1e-15) / (nearest + 1e-9)
    return [value * (math.exp(1 - 1 / ratio) if ratio < 1 else 1.0) for value in found]


def named(values: Sequence[float]) -> dict[str, float]:
    return {f"BLEU-{order}": value for order, value in zip(ORDERS, values, strict=True)}


def rouge(said: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    mine = list(said) or [""]
    others = [list(reference) or [""] for reference in references]
    common = [longest_common(mine, other) for other in others]
    precision = max(common) / len(mine)
    recall = max(length / len(other) for length, other in zip(common, others, strict=True))
    return 0.0 if precision == 0 else (1 + 1.44) * precision * recall / (recall + 1.44 * precision)


def longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    row = [0] * (len(other) + 1)
    for word in one:
        before = row
        row = [0]
        for place, its in enumerate(other):
            row.append(before[place] + 1 if word == its else max(before[place + 1], row[place]))
    return row[-1]


def cider(words: Sequence[str], references: Sequence[Sequence[str]], seen: Ngrams, pictures: int) -> float:
    total = 0.0
    for order in ORDERS:
        mine = weights(words, order, seen, pictures)
        for reference in references:
            its = weights(reference, order, seen, pictures)
            product = sum(
                min(weight, its.get(ngram, 0.0)) * its.get(ngram, 0.0) for ngram, weight in mine.items()
            )
            norm = math.sqrt(sum(w * w for w in mine.values())) * math.sqrt(sum(w * w for w in its.values()))
            delta = max(len(words) - 1, 0) - max(len(reference) - 1, 0)
            total += (product / norm if norm else 0.0) * math.exp(-(delta**2) / (2 * 6.0**2))
    return 10 * total / len(ORDERS) / len(references)


def weights(words: Sequence[str], order: int, seen: Ngrams, pictures: int) -> dict[tuple[str, ...], float]:
    return {
        ngram: count * (math.log(pictures) - math.log(max(seen[ngram], 1)))
        for ngram, count in ngrams(words, order).items()
    }
