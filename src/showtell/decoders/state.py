"""Decoder states: dataclasses of tensors, some per hypothesis, the others shared by all hypotheses of an image."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Self

from torch import Tensor

from showtell.decoders.base import reorder_hypotheses


@dataclass(frozen=True)
class DecoderState:
    """A dataclass of tensors [P, ...]; subclasses name those of them that are [P, K, ...]."""

    PER_HYPOTHESIS: ClassVar[tuple[str, ...]]

    def reorder(self, beam_indices: Tensor) -> Self:
        """Return the states of the hypotheses int64 [P, K'], each an index into K; shared tensors are not copied."""
        return self._map(self.PER_HYPOTHESIS, lambda tensor: reorder_hypotheses(tensor, beam_indices))

    def filter(self, batch_indices: Tensor) -> Self:
        """Return the states of these images alone, int64 [P']."""
        return self._map((field.name for field in fields(self)), lambda tensor: tensor[batch_indices])

    def _map(self, names: Iterable[str], function: Callable[[Tensor], Tensor]) -> Self:
        return replace(self, **{name: function(getattr(self, name)) for name in names})
