"""Decoders ready to tell on a CPU: weights laid out once, products in bfloat16 where the processor multiplies it.

Searching takes a small product per weight and step, and PyTorch lays the weights out anew for each. Here they are
laid out beforehand, for oneDNN's calls that its compiler emits. In bfloat16, logits would be rounded to 1 in 250,
which costs more than all rounding before them: those of the vocabulary are therefore computed twice, the second time
less what the first gave, and their sum has nearly the precision of float32. These calls have no public name: where
they are missing the plain decoder tells.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from showtell.encoders.encoder import fast_dtype
from showtell.kernels.lstm_step import StepLstm, lstm_update
from showtell.kernels.onednn import can_compute

EXACT = ("output",)
"""Layers whose results keep the precision of float32."""

LEAST_WIDTH = 64
"""Layers with fewer outputs stay as they are: there is nothing to gain."""

ROWS = 96
"""Rows of every bfloat16 product, the last ones filled up: 32 pictures by 3 beam_size. oneDNN chooses by this number how
to sum, so that otherwise a sentence would depend on how many are searched beside it, and makes new code for each.
"""

LEAST_ROWS = 2
"""Of a float32 product: a single row is summed in another order."""

D = TypeVar("D", bound=nn.Module)


def can_pack(dtype: torch.dtype) -> bool:
    """Return whether this PyTorch has the calls, for products in a dtype on this processor."""
    mkldnn = torch.ops.mkldnn
    return (
        can_compute(dtype)
        and hasattr(mkldnn, "_linear_pointwise")
        and hasattr(mkldnn, "_reorder_linear_weight")
    )


def packed_decoder(decoder: D, dtype: torch.dtype | None = None) -> D:
    """Return a decoder that steps faster, or the same one where nothing can be done: elsewhere than on a CPU, or in a
    precision that its processor does not multiply.

    It shares the parameters that are not laid out anew, and follows no later change of the others. It is for
    searching alone: it takes no gradients and reads no sentences.

    Args:
        decoder: In eval mode, float32.
        dtype: What products are computed in, float32 or bfloat16; None: `showtell.encoders.encoder.fast_dtype`.
    """
    first = next(decoder.parameters())
    dtype = dtype or fast_dtype("cpu")
    if first.device.type != "cpu" or first.dtype != torch.float32 or not can_pack(dtype):
        return decoder
    return _twin(decoder, dtype)


def _twin(module: D, dtype: torch.dtype) -> D:
    twin = copy.copy(module)
    twin._modules = {
        name: None if part is None else _packed(name, part, dtype) for name, part in module._modules.items()
    }
    return twin


def _packed(name: str, part: nn.Module, dtype: torch.dtype) -> nn.Module:
    if isinstance(part, nn.Linear) and part.out_features >= LEAST_WIDTH:
        return PackedLinear(part.weight, part.bias, dtype, exact=name in EXACT)
    if isinstance(part, StepLstm):
        return PackedLstm(part, dtype)
    return _twin(part, dtype) if part._modules else part


class PackedLinear(nn.Module):
    """A linear layer whose weights are laid out once; takes and returns float32.

    Args:
        weight: float [N, X].
        bias: float [N], or None.
        dtype: What products are computed in.
        exact: Whether results keep the precision of float32 whatever the products are computed in.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, *, exact: bool = False
    ) -> None:
        super().__init__()
        self.dtype, self.exact = dtype, exact and dtype != torch.float32
        self.weight = weight.detach()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(self.weight.to(dtype).contiguous(), ROWS)
        self.bias = None if bias is None else bias.detach().float()

    def forward(self, values: Tensor) -> Tensor:
        """Return float32 [..., N] for float32 [..., X]."""
        rows = values.reshape(-1, values.shape[-1]).to(self.dtype)  # [M, X]
        products = self._in_blocks(rows) if self.dtype == torch.bfloat16 else self._at_once(rows)
        if self.bias is not None:
            products += self.bias
        return products.view(*values.shape[:-1], self.weight.shape[0])

    def _at_once(self, rows: Tensor) -> Tensor:
        if len(rows) >= LEAST_ROWS:
            return self._multiply(rows)
        return self._multiply(torch.cat((rows, rows.new_zeros(LEAST_ROWS - len(rows), rows.shape[1]))))[
            : len(rows)
        ]

    def _in_blocks(self, rows: Tensor) -> Tensor:
        products = torch.empty(len(rows), self.weight.shape[0])
        for start in range(0, len(rows), ROWS):
            block = rows[start : start + ROWS]
            count = len(block)
            if count < ROWS:
                block = torch.cat((block, block.new_zeros(ROWS - count, block.shape[1])))
            rounded = self._multiply(block)
            products[start : start + count] = rounded[:count]
            if self.exact:
                # What rounding took off: of the negative rows, and rounded too, but a far smaller number.
                negative = torch.neg(block)
                excess = torch.ops.mkldnn._linear_pointwise.binary(
                    negative, rounded, self.packed, None, "add"
                )
                products[start : start + count] -= excess[:count]
        return products

    def _multiply(self, rows: Tensor) -> Tensor:
        products: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.packed, None, "none", [], "")
        return products


class PackedLstm(nn.Module):
    """One step of an LSTM of one layer, like that of `StepLstm`, by one product.

    Args:
        lstm: Of one layer, one direction, with biases.
        dtype: What products are computed in.
    """

    def __init__(self, lstm: StepLstm, dtype: torch.dtype) -> None:
        super().__init__()
        from_input, from_hidden, input_bias, hidden_bias = lstm.parameters()  # torch's order
        self.gates = PackedLinear(
            torch.cat((from_input, from_hidden), dim=1), input_bias + hidden_bias, dtype
        )

    def step(self, inputs: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Return the new hidden and cell [N, H] after inputs [N, X]."""
        return lstm_update(self.gates(torch.cat((inputs, hidden), dim=-1)), cell)
