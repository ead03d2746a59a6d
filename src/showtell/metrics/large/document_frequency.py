"""In how many pictures each n-gram is said, for sets whose n-grams do not fit into memory.

Each block of pictures writes its different n-grams once, with the number of its pictures that hold them, into parts
that a hash of the n-gram chooses. All that is equal lies in one part: a part is read, sorted and added up, and the
sums are written where the counts stood, so that each block finds its own in the order in which it wrote them. What is
compared are the n-grams; the hash only shares them out.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from showtell.metrics.large.arrays import Array, DiskArray, PartitionedColumns
from showtell.metrics.ngrams import WORD_BITS, Integers, NgramIndex, NgramTable, group_starts, run_lengths

MOST_PARTS = 256
FEW_WORDS = 1 << 16
_WORD_MASK = np.uint64((1 << WORD_BITS) - 1)


class DocumentFrequencies:
    """Counts the pictures that hold each n-gram.

    Args:
        vocabulary: All words are below.
        blocks: How many will be added: there are as many parts, so that one has about the size of a block.
    """

    def __init__(self, vocabulary: int, blocks: int) -> None:
        self._parts = min(blocks, MOST_PARTS)
        # Four words in 64 bits; where they do not fit, two in each half of a complex number: numpy sorts by both.
        self._wide = vocabulary > FEW_WORDS
        self._shared = PartitionedColumns(self._parts, np.complex128 if self._wide else np.uint64, np.int32)
        self._part = DiskArray(np.uint8)
        self._words = np.zeros(vocabulary, np.int64)
        self._sizes: list[list[int]] = []
        self._starts = [0]

    def add(self, index: NgramIndex, candidates: NgramTable) -> None:
        """Take the n-grams of a block: those of its references, and those that only its candidates have.

        Raises:
            DataError: the disk is full.
        """
        single, *known = index.frequencies()
        self._words[: len(single)] += single
        halves, counts, sizes = [], [], []
        for order, count in enumerate(known, start=1):
            halves += [_halves(table, order) for table in (index.references, candidates)]
            strange = halves[-1].shape[1]
            counts += [count, np.zeros(strange, np.int64)]
            sizes.append(len(count) + strange)
        both = np.concatenate(halves, axis=1)
        part = self._part_of(both)
        self._shared.add(part, self._pack(both), np.concatenate(counts))
        self._part.append(part)
        self._starts.append(len(self._part))
        self._sizes.append(sizes)

    def add_up(self) -> None:
        """Add up what the blocks counted; then `of` can be asked.

        Raises:
            DataError: the disk is full.
        """
        for part in range(self._parts):
            keys, counts = self._shared.read(part)
            if len(keys):
                order = np.argsort(keys)
                start = group_starts(keys[order])
                sums = np.add.reduceat(counts[order], start)
                counts[order] = np.repeat(sums, run_lengths(start, len(keys)))
                self._shared.write(part, 1, counts)

    def of(self, block: int) -> list[Integers]:
        """Return for each order in how many pictures the n-grams of a block are, by their numbers there."""
        part = self._part.read(*self._starts[block : block + 2])
        counts = self._shared.added(block, 1, part).astype(np.int64)
        return [self._words, *np.split(counts, np.cumsum(self._sizes[block])[:-1])]

    def _part_of(self, halves: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
        mixed = (halves[0] * np.uint64(0x9E3779B97F4A7C15) + halves[1]) * np.uint64(0xC2B2AE3D27D4EB4F)
        part: npt.NDArray[np.uint8] = ((mixed >> np.uint64(40)) % np.uint64(self._parts)).astype(np.uint8)
        return part

    def _pack(self, halves: npt.NDArray[np.uint64]) -> Array:
        """Return what n-grams are compared by."""
        first, second = halves
        if self._wide:
            return np.asarray(first + 1j * second)
        return np.asarray(_squeezed(first) << np.uint64(32) | _squeezed(second))


def _halves(table: NgramTable, order: int) -> npt.NDArray[np.uint64]:
    """Return the words of the new n-grams of an order, less one, two by two; 0 where there is none. uint64 [2, N]"""
    start, words = table.orders[order].fresh, table.captions.words
    said = [words[start + place] if place <= order else np.zeros_like(start) for place in range(4)]
    return np.stack([(said[0] << WORD_BITS) | said[1], (said[2] << WORD_BITS) | said[3]]).astype(np.uint64)


def _squeezed(half: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Pack two words of 16 bits closely."""
    packed: npt.NDArray[np.uint64] = (half >> np.uint64(WORD_BITS)) << np.uint64(16) | half & _WORD_MASK
    return packed
