"""How many images hold each n-gram, counted on disk for sets whose n-grams do not fit into memory.

Each block of images writes its n-grams once, sorted, with the number of its images that hold them. Equal n-grams of
all blocks are then in one range of keys, which is small enough to be added up in memory.
"""

import numpy as np
import numpy.typing as npt

from showtell.metrics.caption_table import Array, DiskArray
from showtell.metrics.ngrams import WORD_BITS, Integers, NgramIndex, NgramTable, group_starts, run_lengths

FEW_WORDS = 1 << 16
KEYS_AT_ONCE = 1 << 19
_STRIDE = 1 << 9
_WORD_MASK = np.uint64((1 << WORD_BITS) - 1)


class DiskDocumentFrequency:
    """Counts the images that hold each n-gram.

    Args:
        vocab_size: All token ids are below.
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
        """Add the n-grams of a block: those of its references, and those that only its candidates hold.

        Raises:
            DataError: the disk is full.
        """
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
        """Add up the counts of all blocks, in their places; `of_block` needs it."""
        keys, counts = self._keys.array(), self._counts.array()
        bounds = list(zip(self._starts, self._starts[1:], strict=False))
        step = max(KEYS_AT_ONCE // _STRIDE, 1)
        splits = np.sort(np.concatenate(self._samples))[step::step]
        cuts = [
            np.r_[start, start + np.searchsorted(keys[start:stop], splits), stop] for start, stop in bounds
        ]
        for part in range(len(splits) + 1):
            slices = [slice(*cut[part : part + 2].tolist()) for cut in cuts]
            found = np.concatenate([keys[one] for one in slices])
            order = np.argsort(found, kind="stable")
            start = group_starts(found[order])
            if not len(start):
                continue
            sums = np.empty(len(found), np.int32)
            held = np.concatenate([counts[one] for one in slices])
            sums[order] = np.repeat(np.add.reduceat(held[order], start), run_lengths(start, len(found)))
            place = 0
            for one in slices:
                counts[one] = sums[place : place + one.stop - one.start]
                place += one.stop - one.start

    def of_block(self, block: int) -> list[Integers]:
        """Return for each order in how many images the n-grams of a block are, by their numbers there."""
        start, stop = self._starts[block : block + 2]
        counts = np.empty(stop - start, np.int64)
        counts[self._numbers.array()[start:stop]] = self._counts.array()[start:stop]
        return [self._words, *np.split(counts, np.cumsum(self._sizes[block])[:-1])]

    def _pack(self, table: NgramTable, order: int) -> Array:
        """Return the keys of the new n-grams of an order, less one, which sort by their words."""
        start, words = table.orders[order].fresh, table.captions.words
        held = [words[start + place] if place <= order else np.zeros_like(start) for place in range(4)]
        first, second = ((held[at] << WORD_BITS | held[at + 1]).astype(np.uint64) for at in (0, 2))
        if self._wide:
            return np.asarray(first + 1j * second)
        return np.asarray(_squeezed(first) << np.uint64(32) | _squeezed(second))


def _squeezed(half: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Pack two words of 16 bits closely."""
    packed: npt.NDArray[np.uint64] = (half >> np.uint64(WORD_BITS)) << np.uint64(16) | half & _WORD_MASK
    return packed
