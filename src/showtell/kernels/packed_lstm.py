"""LSTMs over sentences of different lengths, without reading padding.

The tokens of all sentences stand in one matrix, time by time, the longest sentence first, so that the sentences
still going on at a time are the first rows of the one before (torch calls this a packed sequence). On the CPU the
recurrence is written down here, forward and backward: torch's own has no fast form there for packed sequences, and
takes its weights' gradient at every time step where one product at the end does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from showtell.kernels.lstm_cell import TORCH, GateDerivatives, by_time, update_cells
from showtell.kernels.lstm_step import run_lstm


@dataclass(frozen=True)
class PackedBatch:
    """Where the tokens of B sentences of at most T tokens stand among all N.

    Attributes:
        order: The sentences, longest first, int64 [B].
        counts: How many go on at each time, none of them 0.
        places: Of each token among the B*T places, int64 [N].
        shape: B and T.
    """

    order: Tensor
    counts: list[int]
    places: Tensor
    shape: tuple[int, int]

    @classmethod
    def of(cls, tokens: Tensor, pad_id: int) -> Self:
        """Find them in ids int64 [B, T]; what follows a sentence is ``<pad>``."""
        count, length = tokens.shape
        times = torch.arange(length, device=tokens.device)
        lengths = torch.where(tokens != pad_id, times + 1, 0).amax(dim=1)  # [B]
        lengths, order = lengths.sort(descending=True, stable=True)
        time, sentence = (times.unsqueeze(1) < lengths).nonzero(as_tuple=True)  # time by time
        counts = torch.bincount(time).tolist()
        return cls(order, counts, order[sentence] * length + time, (count, length))

    @property
    def rows(self) -> Tensor:
        """The sentence of each token, int64 [N]."""
        return self.places.div(self.shape[1], rounding_mode="floor")

    def pack(self, values: Tensor) -> Tensor:
        """[B, T, X] -> [N, X]."""
        return values.flatten(0, 1).index_select(0, self.places)

    def unpack(self, packed: Tensor) -> Tensor:
        """[N, X] -> [B, T, X], zero where no token stands."""
        count, length = self.shape
        spread = packed.new_zeros(count * length, packed.shape[1]).index_copy(0, self.places, packed)
        return spread.view(count, length, -1)


def packed_lstm(
    lstm: nn.LSTM,
    inputs: Tensor,
    sentences: PackedBatch,
    before: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return the last layer's hidden states of an LSTM that reads sentences.

    Args:
        lstm: One direction, with biases.
        inputs: float [N, X], as `Sentences.pack` gives it.
        sentences: Which tokens are whose.
        before: Hidden and cell that each sentence starts from, float [layers, B, H]; None: zero.

    Returns:
        float [N, H].
    """
    spoken = sentences.order[: sentences.counts[0] if sentences.counts else 0]
    if before is None:
        zeros = inputs.new_zeros(lstm.num_layers, len(spoken), lstm.hidden_size)
        hiddens, cells = zeros, zeros
    else:
        hiddens, cells = (part[:, spoken] for part in before)
    if inputs.device.type != "cpu":
        found, _ = run_lstm(lstm, PackedSequence(inputs, torch.tensor(sentences.counts)), (hiddens, cells))
        return found.data.to(inputs.dtype)  # type: ignore[no-any-return]
    for layer, weights in enumerate(lstm.all_weights):
        if layer:
            inputs = functional.dropout(inputs, lstm.dropout, lstm.training)
        inputs, _ = _read_layer(weights, inputs, hiddens[layer], cells[layer], sentences.counts)
    return inputs


def packed_lstm_with_cells(lstm: nn.LSTM, inputs: Tensor, sentences: PackedBatch) -> tuple[Tensor, Tensor]:
    """Return hidden states and cells of an LSTM of one layer that reads sentences and starts from zeros.

    Torch's own LSTM keeps its cells to itself, so this one is written down on every device.

    Args:
        lstm: One layer, one direction, with biases.
        inputs: float [N, X], as `Sentences.pack` gives it.
        sentences: Which tokens are whose.

    Returns:
        float [N, H] each, the cells in float32 at least.
    """
    (weights,) = lstm.all_weights
    zeros = inputs.new_zeros(sentences.counts[0] if sentences.counts else 0, lstm.hidden_size)
    return _read_layer(weights, inputs, zeros, zeros, sentences.counts)


def _read_layer(
    weights: Sequence[Tensor], inputs: Tensor, hidden: Tensor, cell: Tensor, counts: list[int]
) -> tuple[Tensor, Tensor]:
    from_input, from_hidden, input_bias, hidden_bias = weights  # torch's order
    gates = functional.linear(inputs, from_input, input_bias + hidden_bias)  # [N, 4H]
    recurrent = from_hidden.to(gates.dtype)
    found: tuple[Tensor, Tensor] = _Recurrence.apply(  # type: ignore[no-untyped-call]
        gates, recurrent, hidden.to(gates.dtype), cell, counts
    )
    return found


class _Recurrence(torch.autograd.Function):
    """What is left of an LSTM layer when its inputs have been multiplied: gates [N, 4H] -> hidden, cells [N, H].

    Products are taken in the precision of the gates, all else in float32 at least; only the activated gates are
    kept in the precision of the gates.
    """

    @staticmethod
    def forward(
        ctx: Any, gates: Tensor, weight: Tensor, hidden: Tensor, cell: Tensor, counts: list[int]
    ) -> tuple[Tensor, Tensor]:
        exact = torch.promote_types(gates.dtype, torch.float32)
        active = torch.empty_like(gates)
        outputs = gates.new_empty(len(gates), hidden.shape[1])
        cells = outputs.new_empty(outputs.shape, dtype=exact)
        h, c, transposed = hidden, cell.to(exact), weight.t()
        for read, kept, output, updated in by_time(counts, gates, active, outputs, cells):
            size = len(read)
            raw = torch.addmm(read, h[:size], transposed).to(exact)  # [n, 4H]
            output.copy_(update_cells(raw, c[:size], updated, TORCH))
            kept.copy_(raw)
            h, c = output, updated
        ctx.save_for_backward(active, outputs, cells, weight, hidden, cell)
        ctx.counts = counts
        # Most callers ask nothing of the cells.
        ctx.set_materialize_grads(False)
        return outputs, cells

    @staticmethod
    def backward(
        ctx: Any, gradient: Tensor | None, gradient_of_cells: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        active, outputs, cells, weight, hidden, cell = ctx.saved_tensors
        counts, by_gates = ctx.counts, torch.empty_like(active)
        slopes = GateDerivatives.of(active, cells, earlier(cells, cell, counts), TORCH)
        # What later times ask of the hidden state and cell that they started from.
        by_hidden, by_cell = (torch.zeros_like(cell, dtype=cells.dtype) for _ in range(2))
        asked = [
            (total, torch.split(one, counts))
            for total, one in ((by_hidden, gradient), (by_cell, gradient_of_cells))
            if one is not None
        ]
        backwards = reversed(
            list(enumerate(zip(slopes.times(counts), torch.split(by_gates, counts), strict=True)))
        )
        for number, (slope, found) in backwards:
            size = len(found)
            for total, of_times in asked:
                total[:size] += of_times[number]
            slope.back(by_hidden[:size], by_cell[:size], found)
            by_hidden[:size] = found @ weight
        by_weight = by_gates.t() @ earlier(outputs, hidden, counts)
        return by_gates, by_weight, by_hidden.to(hidden.dtype), by_cell.to(cell.dtype), None


def earlier(values: Tensor, first: Tensor, counts: list[int]) -> Tensor:
    """Return what stood a time before each of values [N, X], as sentences are packed; before the first: [n, X]."""
    before = [first.to(values.dtype), *torch.split(values, counts)]
    return torch.cat([part[:size] for part, size in zip(before, counts, strict=False)] or [values])
