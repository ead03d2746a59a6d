"""Batches grouped by image: the encoder input of an image serves its K captions.

The order of an epoch, its captions and its flips are pure functions of (seed, epoch, position), so resuming needs one
number: the step.
"""

import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from showtell.data.prepared import PreparedSet
from showtell.encoders.features import EncoderInput
from showtell.system.batch_pool import map_ahead
from showtell.text.sides import mirror
from showtell.tokenizer import Tokenizer

BATCHES_AHEAD = 2
"""Batches loaded while the network works: with two, the decoding threads never wait between batches."""


@dataclass(frozen=True)
class Batch:
    """P images with K captions each.

    ``tokens`` are ``<bos>``, words, ``<eos>``, then ``<pad>``; a missing caption is ``<pad>`` only, a truncated one
    has no ``<eos>``. The captions of an image are sorted by length, longest first, so that decoders can skip padding.
    """

    rows: np.ndarray  # of the prepared set, int64 [P]
    mirrored: np.ndarray  # true where the image is flipped left to right, bool [P]
    inputs: EncoderInput  # features of the images, or the images themselves, uint8 [P, H, W, 3]
    tokens: Tensor  # int64 [P, K, T]

    def to(self, device: torch.device) -> "Batch":
        """Return the batch with its tensors on a device."""
        return Batch(self.rows, self.mirrored, self.inputs.to(device), self.tokens.to(device))

    def split(self, size: int) -> "Iterator[Batch]":
        """Yield the batch in parts of at most ``size`` images (0: one part); an empty batch yields nothing."""
        size = size or max(1, len(self.rows))
        for start in range(0, len(self.rows), size):
            part = slice(start, start + size)
            yield Batch(self.rows[part], self.mirrored[part], self.inputs[part], self.tokens[part])


class FeatureSource(Protocol):
    """Provides encoder inputs of images: cached features, or the images themselves."""

    def load(
        self, rows: np.ndarray, mirrored: np.ndarray, positions: np.ndarray | None = None
    ) -> EncoderInput:
        """Return the encoder input of rows int64 [P], flipped left to right where ``mirrored`` bool [P] is true.

        Sources that crop do so at ``positions`` float64 [P, 2] (vertical and horizontal, 0 to 1); None: they return
        the view that is used for validation.
        """


@dataclass(frozen=True)
class BatchOptions:
    """How to make batches; see the recipe's ``data`` and ``training`` keys of the same names.

    With several processes, ``batch_size`` counts the images of all of them, and process ``rank`` takes every
    ``world_size``-th image of each batch: the batches do not depend on the number of processes.
    ``captions_per_image`` 0 means all.
    """

    batch_size: int
    captions_per_image: int
    max_tokens: int
    flip: bool
    seed: int
    rank: int = 0
    world_size: int = 1


@dataclass(frozen=True)
class TokenCounts:
    """The captions to train on, as tokens."""

    captions: int
    truncated: int  # captions longer than the limit
    longest: int  # tokens of the longest caption, before it is truncated
    tokens: int  # of all captions, without `<bos>` and `<eos>`
    unknown: int  # of these tokens


class TokenTable:
    """Token ids of captions, grouped by image, in flat arrays: 170 bytes for five captions of 12.5 words.

    With a ``vocabulary`` up to 65,536, an id takes two bytes.
    """

    def __init__(
        self, groups: Iterable[Iterable[str]], encode: Callable[[str], list[int]], *, vocabulary: int
    ) -> None:
        ids = array("H" if vocabulary <= 2**16 else "i")
        caption_ends, group_ends = array("I", [0]), array("I", [0])
        for group in groups:
            for text in group:
                ids.extend(encode(text))
                caption_ends.append(len(ids))
            group_ends.append(len(caption_ends) - 1)
        self._ids: npt.NDArray[np.uint16 | np.int32] = np.frombuffer(ids, ids.typecode)
        self._caption_ends: npt.NDArray[np.uint32] = np.frombuffer(caption_ends, np.uint32)
        self._group_ends: npt.NDArray[np.uint32] = np.frombuffer(group_ends, np.uint32)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._group_ends) - 1

    def __getitem__(self, index: int) -> list[npt.NDArray[np.uint16 | np.int32]]:
        """Return the ids of each caption of the image at an index."""
        first, last = self._group_ends[index : index + 2].tolist()
        ends = self._caption_ends[first : last + 1].tolist()
        return [self._ids[start:end] for start, end in pairwise(ends)]

    @property
    def ids(self) -> npt.NDArray[np.uint16 | np.int32]:
        """The ids of all captions, one after the other."""
        return self._ids

    @property
    def last_ids(self) -> npt.NDArray[np.uint16 | np.int32]:
        """The last id of each caption."""
        last: npt.NDArray[np.uint16 | np.int32] = self._ids[self._caption_ends[1:] - np.uint32(1)]
        return last

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self._ids.nbytes + self._caption_ends.nbytes + self._group_ends.nbytes


class Batches:
    """All batches of the images in ``rows`` (int64 [N], ascending), by epoch and position."""

    def __init__(
        self,
        prepared: PreparedSet,
        rows: np.ndarray,
        tokenizer: Tokenizer,
        source: FeatureSource,
        options: BatchOptions,
    ) -> None:
        self.tokenizer, self.source, self.options, self.rows = tokenizer, source, options, rows
        self._longest = 0
        captions = (prepared.captions(int(row)) for row in rows)
        self._captions = TokenTable(captions, self._encode, vocabulary=tokenizer.size)
        self._mirrored_captions = self._captions
        if options.flip:
            swapped = (map(mirror, prepared.captions(int(row))) for row in rows)
            self._mirrored_captions = TokenTable(swapped, self._encode, vocabulary=tokenizer.size)

    def references(self, *, mirrored: bool) -> Iterator[list[list[int]]]:
        """Yield the caption ids of each image, as in batches but without ``<bos>``, row by row."""
        captions = self._mirrored_captions if mirrored else self._captions
        for index in range(len(self.rows)):
            yield [ids[1:].tolist() for ids in captions[index]]

    def count_tokens(self) -> TokenCounts:
        """Count the captions of all images, as they are without flips."""
        table, tokenizer = self._captions, self.tokenizer
        captions, complete = len(table.last_ids), int((table.last_ids == tokenizer.eos_id).sum())
        return TokenCounts(
            captions=captions,
            truncated=captions - complete,
            longest=self._longest,
            tokens=len(table.ids) - captions - complete,
            unknown=int((table.ids == tokenizer.unk_id).sum()),
        )

    def _encode(self, text: str) -> list[int]:
        """Return ``<bos>``, at most ``max_tokens`` tokens, and ``<eos>`` unless the caption is truncated."""
        tokenizer, limit = self.tokenizer, self.options.max_tokens
        ids = tokenizer.encode(text)
        self._longest = max(self._longest, len(ids))
        end = [tokenizer.eos_id] if len(ids) <= limit else []
        return [tokenizer.bos_id, *ids[:limit], *end]

    def __len__(self) -> int:
        """Return the number of batches in an epoch; the last one may be smaller."""
        return math.ceil(len(self.rows) / self.options.batch_size)

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """Yield the shuffled batches of an epoch from position ``start``, loading ahead."""
        seed = self.options.seed
        order = np.random.default_rng((seed, epoch)).permutation(self.rows)
        return self._load_ahead(order, start, lambda number: np.random.default_rng((seed, epoch, number)))

    def sequential(self) -> Iterator[Batch]:
        """Yield the images in order, unflipped, with the first K captions of each (or all)."""
        return self._load_ahead(self.rows, 0, lambda number: None)

    def _load_ahead(
        self, order: np.ndarray, start: int, generator: Callable[[int], np.random.Generator | None]
    ) -> Iterator[Batch]:
        size = self.options.batch_size

        def load(number: int) -> Batch:
            return self._batch(order[number * size : (number + 1) * size], generator(number))

        return map_ahead(load, range(start, len(self)), workers=BATCHES_AHEAD, ahead=BATCHES_AHEAD + 1)

    def _batch(self, rows: np.ndarray, generator: np.random.Generator | None) -> Batch:
        # Every process draws for the whole batch and then keeps its own images.
        limit = self.options.captions_per_image
        mirrored = np.zeros(len(rows), dtype=bool)
        if generator is not None and self.options.flip:
            mirrored = generator.random(len(rows)) < 0.5
        chosen = []
        for index, is_mirrored in zip(np.searchsorted(self.rows, rows), mirrored, strict=True):
            captions = (self._mirrored_captions if is_mirrored else self._captions)[int(index)]
            if 0 < limit < len(captions):
                picks = generator.choice(len(captions), limit, replace=False) if generator else range(limit)
                captions = [captions[pick] for pick in picks]
            chosen.append(captions)
        positions = None if generator is None else generator.random((len(rows), 2))
        own = slice(self.options.rank, None, self.options.world_size)
        rows, mirrored, chosen = rows[own], mirrored[own], chosen[own]
        if not len(rows):
            return Batch(rows, mirrored, torch.empty(0), torch.empty((0, 0, 0), dtype=torch.int64))
        inputs = self.source.load(rows, mirrored, None if positions is None else positions[own])
        longest_first = [sorted(group, key=len, reverse=True) for group in chosen]
        return Batch(rows, mirrored, inputs, pad_captions(longest_first, self.tokenizer.pad_id))


def pad_captions(captions: Sequence[Sequence[Sequence[int] | np.ndarray]], pad_id: int) -> Tensor:
    """Return the token IDs of K captions of each image, int64 [P, K, T], with padding also for missing ones."""
    most = max(len(group) for group in captions)
    length = max(len(ids) for group in captions for ids in group)
    tokens = np.full((len(captions), most, length), pad_id)  # [P, K, T]
    for index, group in enumerate(captions):
        for number, ids in enumerate(group):
            tokens[index, number, : len(ids)] = ids
    return torch.from_numpy(tokens)
