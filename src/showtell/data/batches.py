"""Batches grouped by picture: one memory serves the K captions of a picture.

The order of an epoch, and which captions and mirrored views it shows, are pure functions of (seed, epoch,
position), so that going on after an interruption needs one number: the step.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from showtell.data.prepared import PreparedSet
from showtell.data.token_table import TokenTable
from showtell.encoders.features import EncoderInput
from showtell.tokenizer import Tokenizer

BATCHES_AHEAD = 2
"""Loaded while the network works: with two, the threads that decode pictures do not wait between batches."""


@dataclass(frozen=True)
class Batch:
    """P pictures with K captions each.

    Attributes:
        rows: Rows of the prepared set, int64 [P].
        mirrored: Which of them are shown with left and right swapped, bool [P].
        memory: What the encoder saw, or the pictures it has yet to see, uint8 [P, H, W, 3].
        tokens: int64 [P, K, T]: ``<bos>``, words, ``<eos>``, then ``<pad>``; a missing caption is ``<pad>`` alone.
            A caption that was cut has no ``<eos>``: it did not end there. The captions of a picture stand in the
            order of their lengths, longest first, so that a decoder need not read padding (see `forward`).
    """

    rows: np.ndarray
    mirrored: np.ndarray
    memory: EncoderInput
    tokens: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the same batch with its tensors on a device."""
        return Batch(self.rows, self.mirrored, self.memory.to(device), self.tokens.to(device))

    def split(self, pictures: int) -> Iterator[Batch]:
        """Yield the batch in parts of so many pictures (0: all at once), none of an empty batch."""
        size = pictures or max(1, len(self.rows))
        for start in range(0, len(self.rows), size):
            part = slice(start, start + size)
            yield Batch(self.rows[part], self.mirrored[part], self.memory[part], self.tokens[part])


class FeatureSource(Protocol):
    """Gives what a decoder (or first an encoder) reads of pictures: a feature cache, or live pictures."""

    def load(self, rows: np.ndarray, mirrored: np.ndarray, places: np.ndarray | None = None) -> EncoderInput:
        """Return the memory of some pictures.

        Args:
            rows: Which, int64 [P].
            mirrored: Where left and right are swapped, bool [P].
            places: How far down and right a random window lies, float64 [P, 2] in 0..1, for whoever shows windows;
                None: the view that is judged.
        """
        ...


@dataclass(frozen=True)
class BatchOptions:
    """How batches are made; see the recipe's ``data`` and ``training`` keys of the same names.

    Where several ``processes`` train together, ``pictures`` counts those of all, and each ``process`` gets every
    so-many-th picture of each batch: the batches are the same however many share them. No ``captions`` (0): all.
    """

    pictures: int
    captions: int
    max_tokens: int
    flip: bool
    seed: int
    process: int = 0
    processes: int = 1


SWAP = {"left": "right", "right": "left"}
SIDES = re.compile(r"\b(?:left|right)\b")


class Batches:
    """All batches of some pictures, by epoch and position.

    Args:
        prepared: The captioned set.
        rows: Which of its pictures, int64 [N], ascending.
        tokenizer: Turns captions into ids.
        memories: Where the pictures' memory comes from.
        options: Sizes and seed.
    """

    def __init__(
        self,
        prepared: PreparedSet,
        rows: np.ndarray,
        tokenizer: Tokenizer,
        memories: FeatureSource,
        options: BatchOptions,
    ) -> None:
        self.tokenizer, self.memories, self.options = tokenizer, memories, options
        self.rows = rows
        self._captions = TokenTable(
            (prepared.captions(int(row)) for row in rows), self._encode, vocabulary=tokenizer.size
        )
        self._mirrored = self._captions
        if options.flip:
            swapped = (map(mirror, prepared.captions(int(row))) for row in rows)
            self._mirrored = TokenTable(swapped, self._encode, vocabulary=tokenizer.size)

    def references(self, *, mirrored: bool) -> Iterator[list[list[int]]]:
        """Yield the ids of every picture's captions, as batches have them but without ``<bos>``, row by row."""
        captions = self._mirrored if mirrored else self._captions
        for place in range(len(self.rows)):
            yield [ids[1:].tolist() for ids in captions[place]]

    def _encode(self, text: str) -> list[int]:
        """Return ``<bos>``, at most ``max_tokens`` words, and ``<eos>`` unless words were cut."""
        special, limit = self.tokenizer, self.options.max_tokens
        ids = special.encode(text)
        end = [special.eos_id] if len(ids) <= limit else []
        return [special.bos_id, *ids[:limit], *end]

    def __len__(self) -> int:
        """Return the batches of an epoch; the last one may be smaller."""
        return math.ceil(len(self.rows) / self.options.pictures)

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """Yield the shuffled batches of an epoch from position ``start``, the next ones loaded meanwhile."""
        order = np.random.default_rng((self.options.seed, epoch)).permutation(self.rows)
        return self._load_ahead(
            order, start, lambda position: np.random.default_rng((self.options.seed, epoch, position))
        )

    def in_order(self) -> Iterator[Batch]:
        """Yield the pictures in their own order, unmirrored, with the first K captions of each picture (or all)."""
        return self._load_ahead(self.rows, 0, None)

    def _load_ahead(
        self, order: np.ndarray, start: int, generator: Callable[[int], np.random.Generator] | None
    ) -> Iterator[Batch]:
        size = self.options.pictures

        def load(position: int) -> Batch:
            rows = order[position * size : (position + 1) * size]
            return self._batch(rows, generator(position) if generator else None)

        positions = iter(range(start, len(self)))
        with ThreadPoolExecutor(max_workers=BATCHES_AHEAD) as workers:
            coming = deque(workers.submit(load, position) for position in islice(positions, BATCHES_AHEAD))
            while coming:
                batch = coming.popleft().result()
                coming.extend(workers.submit(load, position) for position in islice(positions, 1))
                yield batch

    def _batch(self, rows: np.ndarray, generator: np.random.Generator | None) -> Batch:
        mirrored = np.zeros(len(rows), dtype=bool)
        if generator is not None and self.options.flip:
            mirrored = generator.random(len(rows)) < 0.5
        chosen = []
        for place, is_mirrored in zip(np.searchsorted(self.rows, rows), mirrored, strict=True):
            captions = (self._mirrored if is_mirrored else self._captions)[int(place)]
            if 0 < self.options.captions < len(captions):
                picks = (
                    np.arange(self.options.captions)
                    if generator is None
                    else generator.choice(len(captions), self.options.captions, replace=False)
                )
                captions = [captions[pick] for pick in picks]
            chosen.append(captions)
        places = None if generator is None else generator.random((len(rows), 2))
        mine = slice(self.options.process, None, self.options.processes)
        rows, mirrored, chosen = rows[mine], mirrored[mine], chosen[mine]
        places = None if places is None else places[mine]
        if not len(rows):
            return Batch(rows, mirrored, torch.empty(0), torch.empty((0, 0, 0), dtype=torch.int64))
        return Batch(rows, mirrored, self.memories.load(rows, mirrored, places), self._pad(chosen))

    def _pad(self, captions: Sequence[Sequence[np.ndarray]]) -> Tensor:
        hypotheses = max(len(group) for group in captions)
        length = max(len(ids) for group in captions for ids in group)
        tokens = np.full((len(captions), hypotheses, length), self.tokenizer.pad_id)  # [P, K, T]
        for place, group in enumerate(captions):
            for number, ids in enumerate(sorted(group, key=len, reverse=True)):
                tokens[place, number, : len(ids)] = ids
        return torch.from_numpy(tokens)


def mirror(text: str) -> str:
    """Return a caption as it would be of the mirrored picture: ``left`` and ``right`` change places."""
    return SIDES.sub(lambda found: SWAP[found[0]], text.lower())
