"""BLEU-1 to BLEU-4 with the conventions of coco-caption: corpus statistics, closest reference length.

Papineni et al. 2002, as in tylin/coco-caption ``bleu_scorer.py``. Instead of smoothing, two small constants keep the
divisions defined, so a corpus score is the plain one while a single image without a common 4-gram is almost zero.
"""

import math

import numpy as np

from showtell.metrics.ngrams import (
    NGRAM_MASK,
    ORDERS,
    CandRefPairs,
    Floats,
    Integers,
    NgramIndex,
    NgramTable,
    join,
)

NAMES = tuple(f"BLEU-{order}" for order in range(1, ORDERS + 1))
_SMALL = 1e-9
_TINY = 1e-15


def bleu_counts(index: NgramIndex, candidates: NgramTable, images: Integers) -> Integers:
    """Return the counts of N candidates that BLEU is computed from, int64 [10, N], given their images, int64 [N].

    Four rows count the right n-grams of each order, each at most as often as one reference has it, four rows all
    n-grams; the last two are the words of the candidate and of the nearest reference.
    """
    counts = np.empty((2 * ORDERS + 2, len(images)), np.int64)
    for order, entries in enumerate(candidates.orders):
        found, group = index.find(candidates, order, images)
        clipped = np.minimum(entries.count[found], index.highest_counts[order][group])
        counts[order] = np.bincount(entries.caption[found], clipped, len(images))
        counts[ORDERS + order] = np.maximum(candidates.lengths - order, 0)
    counts[-2:] = candidates.lengths, _nearest_lengths(index, candidates.lengths, images)
    return counts


def bleu_scores(counts: Integers | Floats) -> Floats:
    """Return cumulative BLEU of orders 1 to 4 for columns of `bleu_counts` or of their sums: [10, X] -> [4, X]."""
    precision, penalty = bleu_factors(counts)
    roots = np.array([1.0 / order for order in range(1, ORDERS + 1)])[:, None]
    scores: Floats = np.cumprod(precision, axis=0) ** roots * penalty
    return scores


def bleu_factors(counts: Integers | Floats) -> tuple[Floats, Floats]:
    """Return the precisions of each order and the brevity penalties of columns of counts: [10, X] -> [4, X], [X]."""
    correct, guess, (length, reference) = np.split(counts, [ORDERS, 2 * ORDERS])
    precision = np.asarray((correct + _TINY) / (guess + _SMALL), np.float64)
    ratio = (length + _TINY) / (reference + _SMALL)
    penalty: Floats = np.array([math.exp(1 - 1 / value) if value < 1 else 1.0 for value in ratio.tolist()])
    return precision, penalty


def _nearest_lengths(index: NgramIndex, lengths: Integers, images: Integers) -> Integers:
    """Return for each candidate the reference length nearest to its own, the shorter one of two. [N]"""
    pairs = CandRefPairs(index, images)
    references = index.references.lengths[pairs.reference]
    distance = np.abs(references - lengths[pairs.candidate])
    if not len(pairs.first):
        return lengths
    return np.minimum.reduceat(join(distance, references), pairs.first) & NGRAM_MASK
