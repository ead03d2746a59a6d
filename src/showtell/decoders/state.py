"""What moves the states of decoders: dataclasses of tensors, some of them one for each hypothesis.

A state names those in ``OF_HYPOTHESES``; the rest is memory that all hypotheses of a picture share, and stays where
it is when hypotheses are chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Self

from torch import Tensor

from showtell.decoders.base import select_hypotheses


@dataclass(frozen=True)
class DecoderState:
    """A dataclass of tensors [P, ...]; see `showtell.decoders.base.State`."""

    OF_HYPOTHESES: ClassVar[tuple[str, ...]]
    """The fields that are [P, K, ...]."""

    def reorder(self, parents: Tensor) -> Self:
        """Return the states of the parents, int64 [P, K'], each an index into K; the memory stays where it is."""
        return self._changed(self.OF_HYPOTHESES, lambda part: select_hypotheses(part, parents))

    def first(self, count: int) -> Self:
        """Return the states of the first hypotheses of each picture alone."""
        return self._changed(self.OF_HYPOTHESES, lambda part: part[:, :count])

    def filter(self, pictures: Tensor) -> Self:
        """Return the states of these pictures alone, int64 [P'], with their memory."""
        return self._changed((field.name for field in fields(self)), lambda part: part[pictures])

    def _changed(self, names: Iterable[str], change: Callable[[Tensor], Tensor]) -> Self:
        return replace(self, **{name: change(getattr(self, name)) for name in names})
