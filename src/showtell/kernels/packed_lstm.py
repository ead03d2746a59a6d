"""LSTMs over sequences of different lengths, without computing on padding.

The tokens of all sequences form one matrix, time step by time step, the longest sequence first, so that the sequences
still running at a step are the first rows of the step before (torch's packed sequence). On the CPU the recurrence has
hand-written gradients: torch has no fast kernel there for packed sequences, and takes the weights' gradient at every
time step where one product at the end suffices.
"""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from showtell.kernels.lstm_cell import TORCH_ORDER, GateDerivatives, split_steps, update_cells


@dataclass(frozen=True)
class PackedBatch:
    """The layout of P x K sequences of at most T tokens as N packed tokens."""

    order: Tensor  # the sequences, longest first, int64 [P*K]
    batch_sizes: list[int]  # number of running sequences at each time step, none of them 0
    positions: Tensor  # of each packed token among the P*K*T, int64 [N]
    shape: tuple[int, int, int]  # P, K and T

    @classmethod
    def of(cls, tokens: Tensor, pad_id: int) -> Self:
        """Find the layout of tokens int64 [P, K, T], padded at the end."""
        num_images, num_captions, length = tokens.shape
        steps = torch.arange(length, device=tokens.device)
        lengths = torch.where(tokens.flatten(0, 1) != pad_id, steps + 1, 0).amax(dim=1)  # [P*K]
        lengths, order = lengths.sort(descending=True, stable=True)
        step, row = (steps.unsqueeze(1) < lengths).nonzero(as_tuple=True)  # in the order of steps
        batch_sizes = torch.bincount(step).tolist()
        return cls(order, batch_sizes, order[row] * length + step, (num_images, num_captions, length))

    @property
    def images(self) -> Tensor:
        """The image of each packed token, int64 [N]."""
        return self.positions.div(self.shape[1] * self.shape[2], rounding_mode="floor")

    @property
    def nonempty(self) -> Tensor:
        """The sequences that have a token, longest first, int64 [n]."""
        return self.order[: self.batch_sizes[0] if self.batch_sizes else 0]

    def pack(self, values: Tensor) -> Tensor:
        """[P, K, T, ...] -> [N, ...]."""
        return values.flatten(0, 2).index_select(0, self.positions)

    def unpack(self, packed: Tensor) -> Tensor:
        """[N, X] -> [P, K, T, X], zero for padding."""
        num_images, num_captions, length = self.shape
        values = packed.new_zeros(num_images * num_captions * length, packed.shape[1])
        return values.index_copy(0, self.positions, packed).view(*self.shape, -1)

    def bmm(self, rows: Tensor, matrices: Tensor) -> Tensor:
        """Return [m, Y]: rows [m, X] of the m longest sequences times the matrices [P, X, Y] of their images."""
        order = self.order[: len(rows)]
        num_images, num_captions, _ = self.shape
        by_image = matrices.new_zeros(num_images * num_captions, rows.shape[1])
        by_image.index_copy_(0, order, rows.to(matrices.dtype))
        products = torch.bmm(by_image.view(num_images, num_captions, -1), matrices)
        return products.flatten(0, 1).index_select(0, order)


def run_lstm(
    lstm: nn.LSTM, inputs: Any, state: tuple[Tensor, Tensor] | None = None
) -> tuple[Any, tuple[Tensor, Tensor]]:
    """Call an LSTM on inputs float [B, T, X] or a packed sequence, on a GPU in the precision of its weights.

    Under autocast cuDNN computes LSTMs in float16 even if bfloat16 is requested: small gradients become zero.

    Returns:
        Outputs in the form of the inputs; the last hidden state and cell, float [layers, B, H] like the initial ones.
    """
    weight = next(lstm.parameters())
    if weight.device.type == "cpu":
        return lstm(inputs, state)  # type: ignore[no-any-return]
    if state is not None:
        state = state[0].to(weight.dtype), state[1].to(weight.dtype)
    with torch.autocast(weight.device.type, enabled=False):
        return lstm(inputs.to(weight.dtype), state)  # type: ignore[no-any-return]


def packed_lstm(
    lstm: nn.LSTM, inputs: Tensor, batch: PackedBatch, state: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Return the last layer's hidden states float [N, H] for packed inputs float [N, X], in their precision.

    The LSTM has one direction and biases; ``state`` is the initial hidden state and cell, float [layers, P*K, H], or
    None for zeros.
    """
    if state is None:
        zeros = inputs.new_zeros(lstm.num_layers, len(batch.nonempty), lstm.hidden_size)
        hidden, cell = zeros, zeros
    else:
        hidden, cell = (part[:, batch.nonempty] for part in state)
    if inputs.device.type != "cpu":
        packed = PackedSequence(inputs, torch.tensor(batch.batch_sizes))
        outputs, _ = run_lstm(lstm, packed, (hidden, cell))
        return outputs.data.to(inputs.dtype)  # type: ignore[no-any-return]
    for layer, weights in enumerate(lstm.all_weights):
        if layer:
            inputs = functional.dropout(inputs, lstm.dropout, lstm.training)
        input_weight, hidden_weight, input_bias, hidden_bias = weights  # torch's order
        gates = functional.linear(inputs, input_weight, input_bias + hidden_bias)  # [N, 4H]
        inputs = _PackedRecurrence.apply(  # type: ignore[no-untyped-call]
            gates,
            hidden_weight.to(gates.dtype),
            hidden[layer].to(gates.dtype),
            cell[layer],
            batch.batch_sizes,
        )
    return inputs


class _PackedRecurrence(torch.autograd.Function):
    """The recurrent part of an LSTM layer: the inputs' part of the gates [N, 4H] -> hidden states [N, H].

    Products and saved gates are in the precision of the gates, all else in float32 at least.
    """

    @staticmethod
    def forward(
        ctx: Any, gates: Tensor, weight: Tensor, hidden: Tensor, cell: Tensor, batch_sizes: list[int]
    ) -> Tensor:
        active = torch.empty_like(gates)
        outputs = gates.new_empty(len(gates), hidden.shape[1])
        cells = outputs.new_empty(outputs.shape, dtype=torch.promote_types(gates.dtype, torch.float32))
        h, c, transposed = hidden, cell.to(cells.dtype), weight.t()
        for gates_now, active_now, h_out, c_out in split_steps(batch_sizes, gates, active, outputs, cells):
            size = len(gates_now)
            raw = torch.addmm(gates_now, h[:size], transposed).to(cells.dtype)  # [n, 4H]
            h_out.copy_(update_cells(raw, c[:size], c_out, TORCH_ORDER))
            active_now.copy_(raw)
            h, c = h_out, c_out
        ctx.save_for_backward(active, outputs, cells, weight, hidden, cell)
        ctx.batch_sizes = batch_sizes
        return outputs

    @staticmethod
    def backward(ctx: Any, grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        active, outputs, cells, weight, hidden, cell = ctx.saved_tensors
        batch_sizes, grad_gates = ctx.batch_sizes, torch.empty_like(active)
        derivatives = GateDerivatives.of(active, cells, shift_steps(cells, cell, batch_sizes), TORCH_ORDER)
        grad_h, grad_c = (torch.zeros_like(cell, dtype=cells.dtype) for _ in range(2))  # from later steps
        grads = split_steps(batch_sizes, grad_outputs, grad_gates)
        steps = list(zip(derivatives.split_steps(batch_sizes), grads, strict=True))
        for derivative, (grad_now, grad_gates_now) in reversed(steps):
            size = len(grad_now)
            grad_h[:size] += grad_now
            derivative.backward_step(grad_h[:size], grad_c[:size], grad_gates_now)
            grad_h[:size] = grad_gates_now @ weight
        grad_weight = grad_gates.t() @ shift_steps(outputs, hidden, batch_sizes)
        return grad_gates, grad_weight, grad_h.to(hidden.dtype), grad_c.to(cell.dtype), None


def shift_steps(values: Tensor, initial: Tensor, batch_sizes: list[int]) -> Tensor:
    """Return packed values [N, X] of one time step earlier, those before the first step from ``initial`` [n, X]."""
    previous = [initial.to(values.dtype), *torch.split(values, batch_sizes)]
    return torch.cat([part[:size] for part, size in zip(previous, batch_sizes, strict=False)] or [values])
