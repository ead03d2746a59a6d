"""An LSTM that looks at a picture's regions before every word, over whole sentences: `attention_lstm`.

What is seen at one time depends on what was held the time before, so that times follow one another. Left to autograd
each of them is some fifty small operations and as many again on the way back. Here a time is two products each way,
one attention, and what stands between them; a weight's gradient is one product for all times; and the work of a time
is that of the sentences that still have a word there, not of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from showtell.kernels.additive_attention import EnergyGradients, energies, exp2x, to_float32
from showtell.kernels.lstm_cell import GateDerivatives, GateOrder, by_time, update_cells
from showtell.kernels.packed_lstm import PackedBatch, earlier

ORDER = GateOrder(keep=0, write=1, expose=2, content=3)
"""Of the gates of an LSTM that looks."""


class AttentionInputs(NamedTuple):
    """What may be seen.

    Attributes:
        values: Regions [P, R, M].
        keys: Their part of the attention's hidden layer [P, R, A].
        mask: Real regions, bool [P, R].
    """

    values: Tensor
    keys: Tensor
    mask: Tensor


class AttentionLstmWeights(NamedTuple):
    """What the recurrence is made of.

    Attributes:
        hidden: What is read of the hidden state: by the attention's hidden layer, the gate of what is seen, and the
            LSTM, [A + M + 4H, H].
        gate: The gate's bias [M].
        seen: What the LSTM reads of what is seen [4H, M].
        energy: The attention's last layer [A].
    """

    hidden: Tensor
    gate: Tensor
    seen: Tensor
    energy: Tensor


def attention_lstm(
    words: Tensor,
    sentences: PackedBatch,
    before: tuple[Tensor, Tensor],
    sight: AttentionInputs,
    weights: AttentionLstmWeights,
) -> tuple[Tensor, Tensor]:
    """Return hidden states [N, H], and what was seen before each, past its gate [N, M], in the precision of words.

    Args:
        words: Each word's part of the LSTM's gates, float [N, 4H], in the `ORDER` of this module.
        sentences: P x K of them, and which words are whose.
        before: Hidden and cell that each sentence starts from, float [P * K, H].
        sight: Of each picture.
        weights: In any precision: products are taken in that of ``words``.
    """
    spoken = sentences.order[: sentences.counts[0] if sentences.counts else 0]
    hidden, cell = (part.index_select(0, spoken) for part in before)
    found: tuple[Tensor, Tensor] = _AttentionLstmFunction.apply(  # type: ignore[no-untyped-call]
        words,
        hidden.to(words.dtype),
        cell,
        sight.values,
        sight.keys,
        weights.hidden.to(words.dtype),
        weights.gate.to(words.dtype),
        weights.seen.to(words.dtype),
        weights.energy,
        sight.mask,
        sentences,
    )
    return found


class _AttentionLstmFunction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        words: Tensor,
        hidden: Tensor,
        cell: Tensor,
        values: Tensor,
        keys: Tensor,
        from_hidden: Tensor,
        gate_bias: Tensor,
        from_seen: Tensor,
        energy: Tensor,
        mask: Tensor,
        sentences: PackedBatch,
    ) -> tuple[Tensor, Tensor]:
        with torch.autocast(words.device.type, enabled=False):
            counts, places = sentences.counts, _RowIndex.of(sentences, values)
            sizes = [keys.shape[2], values.shape[2], words.shape[1]]
            raised_keys, column = exp2x(keys), to_float32(energy)
            hidden_regions = ~mask.index_select(0, places.pictures)  # [n, R]
            kept = _SavedForBackward.empty(words, sizes, mask.shape[1])
            h, c = hidden, cell.to(kept.cells.dtype)
            for (read,), at in zip(by_time(counts, words), kept.times(counts), strict=True):
                size = len(read)
                query, gate, gates = torch.split(h[:size] @ from_hidden.t(), sizes, dim=1)
                at.query.copy_(exp2x(query))
                energy_of = energies(raised_keys, at.query, places.pictures[:size], column)
                energy_of.masked_fill_(hidden_regions[:size], float("-inf"))
                torch.softmax(energy_of, dim=1, out=at.attention)  # [n, R]
                at.found.copy_(places.bmm(at.attention, values))  # [n, M]
                at.gate.copy_((gate + gate_bias).sigmoid_())
                torch.mul(at.gate, at.found, out=at.seen)
                raw = to_float32(torch.addmm(gates, at.seen, from_seen.t()).add_(read))
                at.hidden.copy_(update_cells(raw, c[:size], at.cells, ORDER))
                at.active.copy_(raw)
                h, c = at.hidden, at.cells
        ctx.save_for_backward(
            hidden, cell, values, raised_keys, from_hidden, from_seen, column, *kept.tensors
        )
        ctx.sentences, ctx.sizes = sentences, sizes
        ctx.dtypes = keys.dtype, energy.dtype
        return kept.hidden, kept.seen

    @staticmethod
    def backward(ctx: Any, by_outputs: Tensor, by_context: Tensor) -> tuple[Tensor | None, ...]:
        hidden, cell, values, raised_keys, from_hidden, from_seen, column, *tensors = ctx.saved_tensors
        sentences, kept, sizes = ctx.sentences, _SavedForBackward(*tensors), ctx.sizes
        counts, places = sentences.counts, _RowIndex.of(sentences, values)
        slopes = GateDerivatives.of(kept.active, kept.cells, earlier(kept.cells, cell, counts), ORDER)
        gate = kept.gate.to(kept.cells.dtype)
        gate_slope = torch.addcmul(gate, gate, gate, value=-1.0).mul_(kept.found)  # [N, M]
        asked = kept.active.new_empty(len(kept.active), sum(sizes))  # of the products with the hidden state
        by_found = torch.empty_like(kept.found)
        gradients = EnergyGradients(raised_keys, column)
        by_hidden, by_cell = (torch.zeros_like(cell, dtype=kept.cells.dtype) for _ in range(2))
        times = zip(
            kept.times(counts),
            slopes.times(counts),
            by_time(counts, by_outputs, by_context, gate_slope, asked, by_found),
            strict=True,
        )
        for at, slope, (output, context, gated, at_asked, at_found) in reversed(list(times)):
            size = len(output)
            by_query, by_gate, by_gates = torch.split(at_asked, sizes, dim=1)
            by_hidden[:size] += output
            slope.back(by_hidden[:size], by_cell[:size], by_gates)
            by_seen = to_float32(torch.addmm(context, by_gates, from_seen))  # [n, M]
            torch.mul(by_seen, gated, out=by_gate)
            torch.mul(by_seen, at.gate, out=at_found)
            by_attention = to_float32(places.bmm(at_found, values.transpose(1, 2)))  # [n, R]
            by_energy = torch._softmax_backward_data(by_attention, at.attention, 1, by_attention.dtype)
            by_query.copy_(gradients.add(at.query, places.pictures[:size], by_energy))
            by_hidden[:size] = at_asked @ from_hidden
        in_order = (
            sentences.unpack(part).view(len(values), -1, part.shape[1]) for part in (kept.attention, by_found)
        )
        attention, found = (part.to(values.dtype) for part in in_order)
        by_gates = asked[:, -sizes[2] :]
        of_keys, of_energy = ctx.dtypes
        return (
            by_gates,
            by_hidden.to(hidden.dtype),
            by_cell.to(cell.dtype),
            attention.transpose(1, 2) @ found,  # [P, R, M]
            gradients.of_keys().to(of_keys),
            asked.t() @ earlier(kept.hidden, hidden, counts),
            asked[:, sizes[0] : sizes[0] + sizes[1]].sum(dim=0),
            by_gates.t() @ kept.seen,
            gradients.of_weight.to(of_energy),
            None,
            None,
        )


@dataclass(frozen=True)
class _SavedForBackward:
    """What the way back needs of each word, N of them.

    Attributes:
        active: The LSTM's activated gates [N, 4H].
        hidden: [N, H].
        cells: [N, H], exact.
        query: What was asked, `exp2x` [N, A], exact.
        attention: [N, R], exact.
        gate: That of what was seen [N, M].
        found: What was found, before its gate [N, M].
        seen: And past it [N, M].
    """

    active: Tensor
    hidden: Tensor
    cells: Tensor
    query: Tensor
    attention: Tensor
    gate: Tensor
    found: Tensor
    seen: Tensor

    @classmethod
    def empty(cls, words: Tensor, sizes: list[int], regions: int) -> _SavedForBackward:
        attention, memory, gates = sizes
        precise = torch.promote_types(words.dtype, torch.float32)
        return cls(
            *(
                words.new_empty(len(words), width, dtype=dtype)
                for width, dtype in (
                    (gates, words.dtype),
                    (gates // 4, words.dtype),
                    (gates // 4, precise),
                    (attention, precise),
                    (regions, precise),
                    (memory, words.dtype),
                    (memory, words.dtype),
                    (memory, words.dtype),
                )
            )
        )

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (
            self.active,
            self.hidden,
            self.cells,
            self.query,
            self.attention,
            self.gate,
            self.found,
            self.seen,
        )

    def times(self, counts: list[int]) -> list[_SavedForBackward]:
        """Return that of each time."""
        return [_SavedForBackward(*parts) for parts in by_time(counts, *self.tensors)]


class _RowIndex(NamedTuple):
    """Where the sentences stand that are spoken at first, n of P x K.

    Attributes:
        order: Which they are, int64 [n].
        pictures: Of which pictures, int64 [n].
        shape: P and K.
    """

    order: Tensor
    pictures: Tensor
    shape: tuple[int, int]

    @classmethod
    def of(cls, sentences: PackedBatch, values: Tensor) -> _RowIndex:
        count, _ = sentences.shape
        hypotheses = count // max(1, len(values))
        order = sentences.order[: sentences.counts[0] if sentences.counts else 0]
        return cls(order, order.div(max(1, hypotheses), rounding_mode="floor"), (len(values), hypotheses))

    def bmm(self, rows: Tensor, matrices: Tensor) -> Tensor:
        """Return [m, Y]: rows [m, X] of the first sentences times the matrices [P, X, Y] of their pictures."""
        order = self.order[: len(rows)]
        pictures, hypotheses = self.shape
        spread = matrices.new_zeros(pictures * hypotheses, rows.shape[1])
        spread.index_copy_(0, order, rows.to(matrices.dtype))
        products = torch.bmm(spread.view(pictures, hypotheses, -1), matrices)
        return products.flatten(0, 1).index_select(0, order)
