"""The recurrence of Show, Attend and Tell over whole captions, with hand-written gradients: `attention_lstm`.

An LSTM that attends to an image's regions before every word depends on its previous hidden state, so that time steps
cannot be computed together. Left to autograd, a step is some fifty small operations, and as many on the way back.
Here a step is two products each way, one attention, and elementwise operations; a weight's gradient is one product
for all steps; and a step costs only as much as its running captions.

`showtell.decoders.attention.AttentionDecoder.advance` is the plain form of one step.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from showtell.kernels.additive_attention import EnergyGradients, energies, exp2x, to_float32
from showtell.kernels.lstm_cell import GateDerivatives, GateOrder, split_steps, update_cells
from showtell.kernels.packed_lstm import PackedBatch, shift_steps

GATE_ORDER = GateOrder(forget=0, input=1, output=2, cell=3)


class AttentionLstmLayers(NamedTuple):
    """The layers of the recurrence; only the context's gate has a bias."""

    query: nn.Linear  # of the hidden state, [H] -> [A]
    context_gate: nn.Linear  # of the hidden state, [H] -> [M]
    context: nn.Linear  # the LSTM's gates of context and hidden state, [M + H] -> [4H] in `GATE_ORDER`
    energy: nn.Linear  # the attention's last layer, [A] -> [1]


def attention_lstm(
    gates: Tensor,
    batch: PackedBatch,
    layers: AttentionLstmLayers,
    *,
    hidden: Tensor,
    cell: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return hidden states [N, H] and gated contexts [N, M], in the precision of the gates.

    ``gates`` float [N, 4H] is the words' part of the LSTM's gates, in `GATE_ORDER`; hidden state and cell, float
    [P, K, H], are the initial ones; ``keys`` float [P, R, A] is the regions' part of the attention's hidden layer,
    ``values`` float [P, R, M] the regions, and ``mask`` bool [P, R] is True for real ones. Products are computed in
    the precision of the gates, whatever that of the weights.
    """
    hidden, cell = (part.flatten(0, 1).index_select(0, batch.nonempty) for part in (hidden, cell))
    context_weight, recurrent_weight = torch.split(
        layers.context.weight, [values.shape[2], hidden.shape[1]], dim=1
    )
    hidden_weight = torch.cat((layers.query.weight, layers.context_gate.weight, recurrent_weight))
    outputs: tuple[Tensor, Tensor] = _AttentionLstmFunction.apply(  # type: ignore[no-untyped-call]
        gates,
        hidden.to(gates.dtype),
        cell,
        values,
        keys,
        hidden_weight.to(gates.dtype),  # [A + M + 4H, H]
        layers.context_gate.bias.to(gates.dtype),
        context_weight.to(gates.dtype),  # [4H, M]
        layers.energy.weight.squeeze(0),
        mask,
        batch,
    )
    return outputs


class _AttentionLstmFunction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        gates: Tensor,
        hidden: Tensor,
        cell: Tensor,
        values: Tensor,
        keys: Tensor,
        hidden_weight: Tensor,
        gate_bias: Tensor,
        context_weight: Tensor,
        energy_weight: Tensor,
        mask: Tensor,
        batch: PackedBatch,
    ) -> tuple[Tensor, Tensor]:
        with torch.autocast(gates.device.type, enabled=False):
            batch_sizes, images = batch.batch_sizes, batch.images[: len(hidden)]  # [n]
            sizes = [keys.shape[2], values.shape[2], gates.shape[1]]
            keys_exp2x, energy_float = exp2x(keys), to_float32(energy_weight)
            padding = ~mask.index_select(0, images)  # [n, R]
            saved = _SavedForBackward.empty(gates, sizes, mask.shape[1])
            h, c = hidden, cell.to(saved.cells.dtype)
            steps = zip(torch.split(gates, batch_sizes), saved.split_steps(batch_sizes), strict=True)
            for gates_now, now in steps:
                size = len(gates_now)
                query, gate, recurrent = torch.split(h[:size] @ hidden_weight.t(), sizes, dim=1)
                now.query.copy_(exp2x(query))
                energy = energies(keys_exp2x, now.query, images[:size], energy_float)
                energy.masked_fill_(padding[:size], float("-inf"))
                torch.softmax(energy, dim=1, out=now.attention)  # [n, R]
                now.context.copy_(batch.bmm(now.attention, values))  # [n, M]
                now.gate.copy_((gate + gate_bias).sigmoid_())
                torch.mul(now.gate, now.context, out=now.gated_context)
                raw = torch.addmm(recurrent, now.gated_context, context_weight.t()).add_(gates_now)
                raw = to_float32(raw)
                now.hidden.copy_(update_cells(raw, c[:size], now.cells, GATE_ORDER))
                now.active.copy_(raw)
                h, c = now.hidden, now.cells
        ctx.save_for_backward(
            hidden, cell, values, keys_exp2x, hidden_weight, context_weight, energy_float, *saved
        )
        ctx.batch, ctx.sizes = batch, sizes
        ctx.dtypes = keys.dtype, energy_weight.dtype
        return saved.hidden, saved.gated_context

    @staticmethod
    def backward(ctx: Any, grad_outputs: Tensor, grad_contexts: Tensor) -> tuple[Tensor | None, ...]:
        hidden, cell, values, keys_exp2x, hidden_weight, context_weight, energy_float, *tensors = (
            ctx.saved_tensors
        )
        batch, sizes = ctx.batch, ctx.sizes
        saved, batch_sizes, images = _SavedForBackward(*tensors), batch.batch_sizes, batch.images
        derivatives = GateDerivatives.of(
            saved.active, saved.cells, shift_steps(saved.cells, cell, batch_sizes), GATE_ORDER
        )
        gate = saved.gate.to(saved.cells.dtype)
        gate_derivative = torch.addcmul(gate, gate, gate, value=-1.0).mul_(saved.context)  # [N, M]
        # Of the products with the hidden state: query, context gate and LSTM gates.
        grad_products = saved.active.new_empty(len(saved.active), sum(sizes))
        grad_context = torch.empty_like(saved.context)
        energy_gradients = EnergyGradients(keys_exp2x, energy_float)
        grad_h, grad_c = (torch.zeros_like(cell, dtype=saved.cells.dtype) for _ in range(2))
        steps = zip(
            saved.split_steps(batch_sizes),
            derivatives.split_steps(batch_sizes),
            split_steps(
                batch_sizes, grad_outputs, grad_contexts, gate_derivative, grad_products, grad_context
            ),
            strict=True,
        )
        for now, derivative, (output, contexts, d_gate, products, grad_context_now) in reversed(list(steps)):
            size = len(output)
            grad_query, grad_gate, grad_gates = torch.split(products, sizes, dim=1)
            grad_h[:size] += output
            derivative.backward_step(grad_h[:size], grad_c[:size], grad_gates)
            grad_gated = to_float32(torch.addmm(contexts, grad_gates, context_weight))  # [n, M]
            torch.mul(grad_gated, d_gate, out=grad_gate)
            torch.mul(grad_gated, now.gate, out=grad_context_now)
            grad_attention = to_float32(batch.bmm(grad_context_now, values.transpose(1, 2)))  # [n, R]
            grad_energy = torch._softmax_backward_data(grad_attention, now.attention, 1, grad_attention.dtype)
            grad_query.copy_(energy_gradients.add(now.query, images[:size], grad_energy))
            grad_h[:size] = products @ hidden_weight
        attention, grad_context = (
            batch.unpack(part).flatten(1, 2).to(values.dtype) for part in (saved.attention, grad_context)
        )
        grad_gates = grad_products[:, -sizes[2] :]
        keys_dtype, energy_dtype = ctx.dtypes
        return (
            grad_gates,
            grad_h.to(hidden.dtype),
            grad_c.to(cell.dtype),
            attention.transpose(1, 2) @ grad_context,  # [P, R, M]
            energy_gradients.grad_keys().to(keys_dtype),
            grad_products.t() @ shift_steps(saved.hidden, hidden, batch_sizes),
            grad_products[:, sizes[0] : sizes[0] + sizes[1]].sum(dim=0),
            grad_gates.t() @ saved.gated_context,
            energy_gradients.grad_weight.to(energy_dtype),
            None,
            None,
        )


class _SavedForBackward(NamedTuple):
    """Values of each of the N words."""

    active: Tensor  # the LSTM's activated gates [N, 4H]
    hidden: Tensor  # [N, H]
    cells: Tensor  # float32 at least [N, H]
    query: Tensor  # `exp2x`, float32 at least [N, A]
    attention: Tensor  # float32 at least [N, R]
    gate: Tensor  # the context's [N, M]
    context: Tensor  # before the gate [N, M]
    gated_context: Tensor  # [N, M]

    @classmethod
    def empty(cls, gates: Tensor, sizes: list[int], num_regions: int) -> "_SavedForBackward":
        attention, context, width = sizes
        precise = torch.promote_types(gates.dtype, torch.float32)
        shapes = (
            (width, gates.dtype),
            (width // 4, gates.dtype),
            (width // 4, precise),
            (attention, precise),
            (num_regions, precise),
            *[(context, gates.dtype)] * 3,
        )
        return cls(*(gates.new_empty(len(gates), channels, dtype=dtype) for channels, dtype in shapes))

    def split_steps(self, batch_sizes: list[int]) -> "list[_SavedForBackward]":
        return [_SavedForBackward(*parts) for parts in split_steps(batch_sizes, *self)]
