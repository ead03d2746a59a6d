"""Rehearsal: batches of an earlier training set between those of the new one, so that it is not forgotten."""

from collections.abc import Iterator
from dataclasses import dataclass

from showtell.data.batches import Batch, Batches


@dataclass(frozen=True)
class RehearsedBatches:
    """Alternates batches of two sets; an epoch has each image of ``own`` once, and continues through ``old``."""

    own: Batches
    old: Batches

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return 2 * len(self.own)

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from position ``start``: own ones at even positions."""
        own = self.own.epoch(epoch, start=(start + 1) // 2)
        old = self._old(epoch * len(self.own) + start // 2)
        for position in range(start, len(self)):
            yield next(old if position % 2 else own)

    def _old(self, number: int) -> Iterator[Batch]:
        """Yield the batches of the old set, epoch after epoch, from the one of this number."""
        epoch, position = divmod(number, len(self.old))
        while True:
            yield from self.old.epoch(epoch, start=position)
            epoch, position = epoch + 1, 0
