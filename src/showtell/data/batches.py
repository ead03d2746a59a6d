"""Batches grouped by picture: one memory serves the K captions of a picture.

The order of an epoch, and which captions and mirrored views it shows, are pure functions of (seed, epoch,
position), so that going on after an interruption needs one number: the step.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from showtell.data.prepared import PreparedSet
from showtell.models.features import Features
from showtell.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Batch:
    """P pictures with K captions each.

    Attributes:
        rows: Rows of the prepared set, int64 [P].
        memory: What the encoder saw, or the pictures it has yet to see, uint8 [P, H, W, 3].
        tokens: int64 [P, K, T]: ``<bos>``, words, ``<eos>``, then ``<pad>``; a missing caption is ``<pad>`` alone.
            A caption that was cut has no ``<eos>``: it did not end there. The captions of a picture stand in the
            order of their lengths, longest first, so that a decoder need not read padding (see `forward`).
    """

    rows: np.ndarray
    memory: Features | Tensor
    tokens: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the same batch with its tensors on a device."""
        return Batch(self.rows, self.memory.to(device), self.tokens.to(device))


class Memories(Protocol):
    """Gives what a decoder (or first an encoder) reads of pictures: a feature cache, or live pictures."""

    def load(self, rows: np.ndarray, mirrored: np.ndarray) -> Features | Tensor:
        """Return the memory of rows int64 [P]; ``mirrored`` bool [P] asks for left and right swapped."""
        ...


@dataclass(frozen=True)
class BatchOptions:
    """How batches are made; see the recipe's ``data`` and ``training`` keys of the same names."""

    pictures: int
    captions: int
    max_words: int
    flip: bool
    seed: int


SWAP = {"left": "right", "right": "left"}
SIDES = re.compile(r"\b(?:left|right)\b")


class Batches:
    """All batches of some pictures, by epoch and position.

    Args:
        prepared: The captioned set.
        rows: Which of its pictures, int64 [N].
        tokenizer: Turns captions into ids.
        memories: Where the pictures' memory comes from.
        options: Sizes and seed.
    """

    def __init__(
        self,
        prepared: PreparedSet,
        rows: np.ndarray,
        tokenizer: Tokenizer,
        memories: Memories,
        options: BatchOptions,
    ) -> None:
        self.tokenizer, self.memories, self.options = tokenizer, memories, options
        self.rows = rows
        texts = {int(row): prepared.captions(int(row)) for row in self.rows}
        self._captions = {row: [self._encode(text) for text in captions] for row, captions in texts.items()}
        self._mirrored = {
            row: [self._encode(mirror(text)) for text in captions]
            for row, captions in texts.items()
            if options.flip
        }

    def _encode(self, text: str) -> list[int]:
        """Return ``<bos>``, at most ``max_words`` words, and ``<eos>`` unless words were cut."""
        special, limit = self.tokenizer, self.options.max_words
        ids = special.encode(text)
        end = [special.eos_id] if len(ids) <= limit else []
        return [special.bos_id, *ids[:limit], *end]

    def __len__(self) -> int:
        """Return the batches of an epoch; the last one may be smaller."""
        return math.ceil(len(self.rows) / self.options.pictures)

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """Yield the shuffled batches of an epoch from position ``start``, the next one loaded meanwhile."""
        order = np.random.default_rng((self.options.seed, epoch)).permutation(self.rows)
        return self._load_ahead(
            order, start, lambda position: np.random.default_rng((self.options.seed, epoch, position))
        )

    def in_order(self) -> Iterator[Batch]:
        """Yield the pictures in their own order, unmirrored, with the first K captions of each picture."""
        return self._load_ahead(self.rows, 0, None)

    def _load_ahead(
        self, order: np.ndarray, start: int, generator: Callable[[int], np.random.Generator] | None
    ) -> Iterator[Batch]:
        size = self.options.pictures

        def load(position: int) -> Batch:
            rows = order[position * size : (position + 1) * size]
            return self._batch(rows, generator(position) if generator else None)

        with ThreadPoolExecutor(max_workers=1) as worker:
            coming = worker.submit(load, start) if start < len(self) else None
            for position in range(start, len(self)):
                assert coming is not None
                batch = coming.result()
                coming = worker.submit(load, position + 1) if position + 1 < len(self) else None
                yield batch

    def _batch(self, rows: np.ndarray, generator: np.random.Generator | None) -> Batch:
        mirrored = np.zeros(len(rows), dtype=bool)
        if generator is not None and self.options.flip:
            mirrored = generator.random(len(rows)) < 0.5
        chosen = []
        for row, is_mirrored in zip(rows, mirrored, strict=True):
            captions = (self._mirrored if is_mirrored else self._captions)[int(row)]
            if len(captions) > self.options.captions:
                picks = (
                    np.arange(self.options.captions)
                    if generator is None
                    else generator.choice(len(captions), self.options.captions, replace=False)
                )
                captions = [captions[pick] for pick in picks]
            chosen.append(captions)
        return Batch(rows, self.memories.load(rows, mirrored), self._pad(chosen))

    def _pad(self, captions: list[list[list[int]]]) -> Tensor:
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
