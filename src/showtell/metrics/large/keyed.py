"""Captions of files with their pictures' names, and which of two files' captions are about the same picture.

No name is kept in memory. Names are compared by 128 bits of BLAKE2: that two of a million million names share them
has a chance of one in 10^14.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b

import numpy as np

from showtell.metrics.blocks import bounds
from showtell.metrics.large.arrays import Array, DiskArray, DiskTokens, PartitionedColumns
from showtell.metrics.ngrams import Captions, Integers, group_starts, ragged_arange, run_lengths
from showtell.metrics.ptb_tokenizer import TokenVocab

_CAPTIONS_AT_ONCE = 10_000
_NAMES_AT_ONCE = 1 << 17
_DIGEST = 16


class IdTokens:
    """Captions on the disk in the order they came, with the names of their pictures.

    Captions of one picture that come behind one another are a *run*; a picture may have several.

    Args:
        lexicon: Numbers their tokens.

    Attributes:
        digests: Two numbers for each run's name. uint64 [2 * runs]
        many: Captions of each run. int32 [runs]
        tokens: Of the captions, in blocks.
        captions: How many were added.
    """

    def __init__(self, lexicon: TokenVocab) -> None:
        self._lexicon = lexicon
        self.digests, self.many = DiskArray(np.uint64), DiskArray(np.int32)
        self._names, self._name_lengths = DiskArray(np.uint8), DiskArray(np.int32)
        self.tokens = DiskTokens()
        self.captions = 0
        self._runs = [0]
        self._keys: list[str] = []
        self._texts: list[str] = []
        self._counts: list[int] = []

    def add(self, key: str, captions: Sequence[str]) -> None:
        """Add captions of a picture.

        Raises:
            DataError: the disk is full.
        """
        if self._keys and self._keys[-1] == key:
            self._counts[-1] += len(captions)
        else:
            if max(len(self._texts), len(self._keys)) >= _CAPTIONS_AT_ONCE:
                self.close()
            self._keys.append(key)
            self._counts.append(len(captions))
        self._texts.extend(captions)
        self.captions += len(captions)

    def close(self) -> None:
        """Write what was added.

        Raises:
            DataError: the disk is full.
        """
        names = [key.encode("utf-8", "surrogatepass") for key in self._keys]
        digests = b"".join(blake2b(name, digest_size=_DIGEST).digest() for name in names)
        self.digests.append(np.frombuffer(digests, np.uint64))
        self.many.append(np.array(self._counts, np.int32))
        self._names.append(np.frombuffer(b"".join(names), np.uint8))
        self._name_lengths.append(np.array([len(name) for name in names], np.int32))
        self.tokens.append(self._lexicon.tokens(self._texts))
        self._runs.append(len(self.many))
        self._keys, self._texts, self._counts = [], [], []

    def names(self) -> Iterator[str]:
        """Yield the name of each run."""
        place = 0
        for start in range(0, len(self.many), _CAPTIONS_AT_ONCE):
            lengths = self._name_lengths.read(start, min(start + _CAPTIONS_AT_ONCE, len(self.many))).tolist()
            text = self._names.read(place, place + sum(lengths)).tobytes()
            place += len(text)
            at = 0
            for length in lengths:
                yield text[at : at + length].decode("utf-8", "surrogatepass")
                at += length

    def by_picture(self, numbers: DiskArray, pictures: int) -> CaptionsByPicture:
        """Return the captions in blocks of pictures.

        Args:
            numbers: The picture of each run. [runs]
            pictures: How many there are.
        """
        starts = np.array([start for start, _ in bounds(pictures)])
        blocks = len(starts)
        captions, words = PartitionedColumns(blocks, np.int64, np.int32), PartitionedColumns(blocks, np.int32)
        for (start, stop), tokens in zip(
            zip(self._runs, self._runs[1:], strict=False), self.tokens, strict=True
        ):
            picture = np.repeat(numbers.read(start, stop), self.many.read(start, stop))  # [captions]
            block = np.searchsorted(starts, picture, side="right") - 1
            captions.add(block, picture, tokens.lengths)
            words.add(np.repeat(block, tokens.lengths), tokens.words)
        return CaptionsByPicture(captions, words)


class CaptionsByPicture:
    """Captions in blocks of pictures, each picture's together, in the order they came."""

    def __init__(self, captions: PartitionedColumns, words: PartitionedColumns) -> None:
        self._captions, self._words = captions, words

    def read(self, block: int) -> tuple[Integers, Captions]:
        """Return the picture of each caption of a block, ascending, int64 [captions], and the captions."""
        picture, lengths = self._captions.read(block)
        (words,) = self._words.read(block)
        lengths = lengths.astype(np.int64)
        order = np.argsort(picture, kind="stable")
        first = (np.cumsum(lengths) - lengths)[order]
        lengths = lengths[order]
        places = np.repeat(first, lengths) + ragged_arange(lengths)
        return picture[order], Captions(words[places].astype(np.int64), lengths)


class IdJoin:
    """The pictures of two files by their names, numbered in the order in which the first file names them.

    Args:
        truth: Names all pictures.
        ours: Is about some of them.

    Attributes:
        count: How many the first file names.
        of_truth: Picture of each run of the first file. int64 [runs]
        of_ours: Picture of each run of the second; -1: the first file does not name it. int64 [runs]
    """

    def __init__(self, truth: IdTokens, ours: IdTokens) -> None:
        runs = len(truth.many)
        self._first = _first_of_name(truth, ours)
        self.of_truth = DiskArray.of_zeros(np.int64, runs)
        self.count = 0
        numbers = self.of_truth.mapped()
        for start, first in self._firsts(0, runs):
            new = np.flatnonzero(first == np.arange(start, start + len(first)))
            numbers[start + new] = self.count + np.arange(len(new))
            numbers[start : start + len(first)] = numbers[first]
            self.count += len(new)
        self.of_ours = DiskArray(np.int64)
        for _, first in self._firsts(runs, len(self._first)):
            known = first < runs
            self.of_ours.append(np.where(known, numbers[np.where(known, first, 0)] if runs else -1, -1))
        self._runs = runs

    def new(self) -> Iterator[bool]:
        """Yield for each run of the first file whether it is the first of its picture."""
        for start, first in self._firsts(0, self._runs):
            yield from (first == np.arange(start, start + len(first))).tolist()

    def _firsts(self, start: int, stop: int) -> Iterator[tuple[int, Array]]:
        for place in range(start, stop, _NAMES_AT_ONCE):
            yield place, self._first.read(place, min(place + _NAMES_AT_ONCE, stop))


def _first_of_name(*files: IdTokens) -> DiskArray:
    """Return for each run of some files the first run of the same name, all counted through. int64 [runs]"""
    total = sum(len(file.many) for file in files)
    parts = -(-total // _NAMES_AT_ONCE)
    shared = PartitionedColumns(parts, np.uint64, np.uint64, np.int64)
    passed = 0
    for file in files:
        for start in range(0, len(file.many), _NAMES_AT_ONCE):
            stop = min(start + _NAMES_AT_ONCE, len(file.many))
            high, low = file.digests.read(2 * start, 2 * stop).reshape(-1, 2).T
            shared.add((high % np.uint64(parts)).astype(np.int64), high, low, passed + np.arange(start, stop))
        passed += len(file.many)
    first = DiskArray.of_zeros(np.int64, total)
    written = first.mapped()
    for part in range(parts):
        high, low, run = shared.read(part)
        order = np.lexsort((low, high))
        high, low, run = high[order], low[order], run[order]
        begin: Integers = np.union1d(group_starts(high), group_starts(low))
        written[run] = np.repeat(run[begin], run_lengths(begin, len(run)))
    return first
