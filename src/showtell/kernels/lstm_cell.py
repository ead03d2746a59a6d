"""The cells of an LSTM, forward and backward, for recurrences whose gradients are written down.

Backward, all that does not depend on what later times ask is worked out for all times at once (`GateDerivatives`); what is
left for each time are products.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from torch import Tensor


class GateOrder(NamedTuple):
    """Where an LSTM's gates stand among the four parts of [N, 4H]."""

    write: int
    keep: int
    content: int
    expose: int

    def split(self, gates: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return views [N, H] of the gates: write, keep, content, expose."""
        parts = gates.chunk(4, dim=1)
        return parts[self.write], parts[self.keep], parts[self.content], parts[self.expose]


TORCH = GateOrder(write=0, keep=1, content=2, expose=3)


def update_cells(gates: Tensor, before: Tensor, cells: Tensor, order: GateOrder) -> Tensor:
    """Return the hidden states [N, H] of cells that are updated once.

    Args:
        gates: float [N, 4H], activated in place.
        before: The cells until now [N, H].
        cells: Gets the new ones [N, H].
        order: Of the gates.
    """
    write, keep, content, expose = order.split(gates)
    for gate in (write, keep, expose):
        gate.sigmoid_()
    content.tanh_()
    torch.mul(keep, before, out=cells).addcmul_(write, content)
    return cells.tanh().mul_(expose)


class GateDerivatives(NamedTuple):
    """What gradients are multiplied with on their way back through updates of cells.

    Attributes:
        gates: float [N, 4H]: from the cell to what was read by all gates but ``expose``, and there from the hidden
            state.
        cells: From the hidden state to the cell, float [N, H].
        keep: From the cell to the one before, float [N, H].
        order: Of the gates.
    """

    gates: Tensor
    cells: Tensor
    keep: Tensor
    order: GateOrder

    @classmethod
    def of(cls, active: Tensor, cells: Tensor, before: Tensor, order: GateOrder) -> Self:
        """Work them out for activated gates [N, 4H], cells [N, H] and those before them [N, H]."""
        write, keep, content, expose = order.split(active.to(cells.dtype))
        seen, gates = cells.tanh(), cells.new_empty(active.shape)
        by_write, by_keep, by_content, by_expose = order.split(gates)
        _slope(write, out=by_write).mul_(content)
        _slope(keep, out=by_keep).mul_(before)
        torch.mul(content, content, out=by_content).neg_().add_(1.0).mul_(write)
        _slope(expose, out=by_expose).mul_(seen)
        return cls(gates, seen.square_().neg_().add_(1.0).mul_(expose), keep, order)

    def times(self, counts: list[int]) -> list[Self]:
        """Return those of each time, which has so many rows."""
        parts = by_time(counts, self.gates, self.cells, self.keep)
        return [self._replace(gates=gates, cells=cells, keep=keep) for gates, cells, keep in parts]

    def back(self, hidden: Tensor, cell: Tensor, gates: Tensor) -> None:
        """Go back by one time.

        Args:
            hidden: What is asked of the hidden states after it [N, H].
            cell: What is asked of the cells after it [N, H]; turned into what is asked of those before.
            gates: Gets what is asked of what the gates read [N, 4H].
        """
        cell.addcmul_(hidden, self.cells)
        parts = zip(self.order.split(self.gates), self.order.split(gates), strict=True)
        for asked, (slope, found) in zip((cell, cell, cell, hidden), parts, strict=True):
            torch.mul(slope, asked, out=found)
        cell.mul_(self.keep)


def by_time(counts: list[int], *values: Tensor) -> list[tuple[Tensor, ...]]:
    """Return the rows of values [N, ...] that belong to each time, which has so many."""
    return list(zip(*(torch.split(one, counts) for one in values), strict=True))


def _slope(gate: Tensor, *, out: Tensor) -> Tensor:
    """Return the slope of the sigmoid whose value is ``gate``: g - g^2."""
    return torch.addcmul(gate, gate, gate, value=-1.0, out=out)
