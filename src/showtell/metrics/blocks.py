"""Score a set of any size block by block: only a block's n-grams are in memory.

CIDEr-D weighs an n-gram by the number of images of the whole set that hold it, so there are two passes: the first
counts these on disk, the second scores.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import pairwise

import numpy as np

from showtell.metrics.bleu import NAMES, bleu_counts, bleu_scores
from showtell.metrics.caption_table import Array, DiskArray
from showtell.metrics.cider import CiderD
from showtell.metrics.ngrams import (
    ORDERS,
    WORD_BITS,
    Captions,
    Floats,
    Integers,
    NgramIndex,
    NgramTable,
    group_starts,
    run_lengths,
)
from showtell.metrics.ptb_tokenizer import TokenVocab
from showtell.metrics.rouge import rouge_l

MEAN_SCORES = {"rouge": "ROUGE-L", "cider": "CIDEr-D"}
"""Names of the metrics whose corpus score is the mean over images."""
BLOCK_IMAGES = 2_500
"""Images of a block; their n-grams take about 20 MB."""
FEW_WORDS = 1 << 16
KEYS_AT_ONCE = 1 << 19
_STRIDE = 1 << 9

Block = tuple[Captions, Integers, Captions]
"""Tokens of P images: their references, image by image, the references of each, int64 [P], and its candidate."""


SegmentStats = dict[str, Array]
"""What corpus scores are computed from, by metric: "bleu" has the counts of `bleu_counts`, int64 [10, P], "meteor"
those of `MeteorScorer.counts`, float64 [23, P], "rouge" and "cider" the scores of each image, float64 [P].
"""


def score_blocks(
    read: Callable[[slice], Block], num_images: int, *, vocab: TokenVocab, metrics: Collection[str]
) -> Iterator[SegmentStats]:
    """Yield the statistics of each block; ``read`` is called twice for each, ``metrics`` are those of `METRICS`."""
    blocks = [slice(start, start + BLOCK_IMAGES) for start in range(0, num_images, BLOCK_IMAGES)]
    frequency = None
    # A single block has the n-grams of the set.
    if "cider" in metrics and len(blocks) > 1:
        frequency = _DiskDocumentFrequency(len(vocab.texts))
        for rows in blocks:
            frequency.add(*_count_ngrams(read(rows), vocab))
        frequency.merge()
    for number, rows in enumerate(blocks):
        references, per_image, candidates = block = read(rows)
        stats: SegmentStats = {}
        if "rouge" in metrics:
            stats["rouge"] = rouge_l(candidates, references, per_image)
        if "bleu" in metrics or "cider" in metrics:
            index, table = _count_ngrams(block, vocab)
            images = np.arange(index.num_images)
            if "bleu" in metrics:
                stats["bleu"] = bleu_counts(index, table, images)
            if "cider" in metrics:
                known = frequency.of_block(number) if frequency else ()
                cider = CiderD(index, num_images=num_images, frequencies=known)
                stats["cider"] = cider.score_each(table, images)
        yield stats


def summarize(blocks: Iterable[SegmentStats]) -> tuple[dict[str, float], dict[str, Floats]]:
    """Return the scores of the corpus and those of each image, float64 [P], by metric."""
    total: Integers = np.zeros((2 * ORDERS + 2, 1), np.int64)
    parts: dict[str, list[Floats]] = {}
    for block in blocks:
        scores = {name: block[metric] for metric, name in MEAN_SCORES.items() if metric in block}
        if "bleu" in block:
            total = total + block["bleu"].sum(axis=1, keepdims=True)
            scores |= zip(NAMES, bleu_scores(block["bleu"]), strict=True)
        for name, column in scores.items():
            parts.setdefault(name, []).append(column)
    columns: dict[str, Floats] = {}
    while parts:  # one metric at a time in two copies
        name = next(iter(parts))
        columns[name] = np.concatenate(parts.pop(name))
    values = {name: float(np.mean(column)) for name, column in columns.items()}
    if NAMES[0] in values:
        values |= dict(zip(NAMES, bleu_scores(total)[:, 0].tolist(), strict=True))
    return values, columns


def _count_ngrams(block: Block, vocab: TokenVocab) -> tuple[NgramIndex, NgramTable]:
    references, per_image, candidates = block
    index = NgramIndex(vocab.words(references), per_image)
    return index, index.count(vocab.words(candidates))


class _DiskDocumentFrequency:
    """The number of images that hold each n-gram; all token ids are below ``vocab_size``.

    Each block writes its n-grams once, sorted, with the number of its images that hold them. Equal n-grams of all
    blocks are then in one range of keys, which is small enough to be added up in memory. A full disk is a DataError.
    """

    def __init__(self, vocab_size: int) -> None:
        # Four words in 64 bits, or two in each half of a complex number: numpy sorts by both halves.
        self._wide = vocab_size > FEW_WORDS
        self._keys = DiskArray(np.complex128 if self._wide else np.uint64)
        self._counts, self._numbers = DiskArray(np.int32), DiskArray(np.int32)
        self._words = np.zeros(vocab_size, np.int64)
        self._samples: list[Array] = []
        self._sizes: list[list[int]] = []
        self._starts = [0]

    def add(self, index: NgramIndex, candidates: NgramTable) -> None:
        """Add the n-grams of a block: those of its references, and those that only its candidates hold."""
        single, *known = index.frequencies()
        self._words[: len(single)] += single
        keys, counts, sizes = [], [], []
        for order, count in enumerate(known, start=1):
            keys += [self._pack(table, order) for table in (index.references, candidates)]
            counts += [count, np.zeros(len(keys[-1]), np.int64)]
            sizes.append(len(count) + len(keys[-1]))
        joined = np.concatenate(keys)
        # The references' n-grams are numbered in the order of their words: runs, which a merge sort uses.
        order_of_keys = np.argsort(joined, kind="stable")
        joined = joined[order_of_keys]
        self._keys.append(joined)
        self._counts.append(np.concatenate(counts)[order_of_keys])
        self._numbers.append(order_of_keys)
        self._samples.append(joined[_STRIDE // 2 :: _STRIDE].copy())
        self._starts.append(self._keys.length)
        self._sizes.append(sizes)

    def merge(self) -> None:
        """Replace the counts of all blocks by their sums; `of_block` needs it."""
        keys, counts = self._keys.array(), self._counts.array()
        step = max(KEYS_AT_ONCE // _STRIDE, 1)
        splits = np.sort(np.concatenate(self._samples))[step::step]
        cuts = [
            np.r_[start, start + np.searchsorted(keys[start:stop], splits), stop]
            for start, stop in pairwise(self._starts)
        ]
        for part in range(len(splits) + 1):
            slices = [slice(*cut[part : part + 2].tolist()) for cut in cuts]
            found, held = (np.concatenate([column[rows] for rows in slices]) for column in (keys, counts))
            # Not np.unique: a stable sort merges the blocks' sorted runs in two thirds of its time.
            order = np.argsort(found, kind="stable")
            start = group_starts(found[order])
            if not len(start):
                continue
            sums = np.empty_like(held)
            sums[order] = np.repeat(np.add.reduceat(held[order], start), run_lengths(start, len(held)))
            ends = np.cumsum([rows.stop - rows.start for rows in slices])
            for rows, sums_of_block in zip(slices, np.split(sums, ends[:-1]), strict=True):
                counts[rows] = sums_of_block

    def of_block(self, block: int) -> list[Integers]:
        """Return for each order in how many images the n-grams of a block are, by their numbers there."""
        start, stop = self._starts[block : block + 2]
        counts = np.empty(stop - start, np.int64)
        counts[self._numbers.array()[start:stop]] = self._counts.array()[start:stop]
        return [self._words, *np.split(counts, np.cumsum(self._sizes[block])[:-1])]

    def _pack(self, table: NgramTable, order: int) -> Array:
        """Return the keys of the new n-grams of an order, less one, which sort by their words."""
        start, words = table.orders[order].fresh, table.captions.words
        bits = np.uint64(WORD_BITS if self._wide else 16)
        held = np.zeros((4, len(start)), np.uint64)
        for place in range(order + 1):
            held[place] = words[start + place]
        first, second = held[::2] << bits | held[1::2]
        return np.asarray(first + 1j * second if self._wide else first << np.uint64(32) | second)
