"""Decoders prepared for generation on a CPU: weights reordered once, products in bfloat16 where that is fast.

Generation takes a small product per weight and step, for each of which PyTorch reorders the weights. Here they are
reordered once, for the oneDNN calls that PyTorch's compiler emits. In bfloat16 logits would be rounded to 1 in 250,
more than all rounding before them costs; the product with the vocabulary is therefore computed twice, the second time
minus the rounded first, and the sum has nearly the precision of float32. These calls are not public: without them the
plain decoder is used.
"""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from showtell.encoders.encoder import fast_dtype
from showtell.kernels.lstm_cell import StepLstm, lstm_update
from showtell.kernels.onednn import can_compute

EXACT = ("output",)
"""Layers whose results keep the precision of float32."""

MIN_WIDTH = 64
"""Layers with fewer outputs stay as they are: packing them gains nothing."""

BLOCK_ROWS = 96
"""Rows of each bfloat16 product, padded: 32 images with beam size 3. oneDNN chooses the order of summation by this
number, so that otherwise a caption would depend on the size of the batch, and it compiles code for each number."""

MIN_ROWS = 2
"""Rows of each float32 product: a single row would be summed in another order."""

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
    """Return a decoder that steps faster, or the same one on other devices and in unsupported precisions.

    It is for generation alone: it has no gradients and no `forward_hidden`. It shares the parameters that are not
    packed, and does not follow later changes of the others. The decoder is in eval mode and float32; products are in
    float32 or bfloat16, by default in `showtell.encoders.encoder.fast_dtype`.
    """
    first = next(decoder.parameters())
    dtype = dtype or fast_dtype("cpu")
    if first.device.type != "cpu" or first.dtype != torch.float32 or not can_pack(dtype):
        return decoder
    return _pack_modules(decoder, dtype)


def _pack_modules(module: D, dtype: torch.dtype) -> D:
    packed = copy.copy(module)
    packed._modules = {
        name: None if child is None else _pack(name, child, dtype) for name, child in module._modules.items()
    }
    return packed


def _pack(name: str, module: nn.Module, dtype: torch.dtype) -> nn.Module:
    if isinstance(module, nn.Linear) and module.out_features >= MIN_WIDTH:
        return PackedLinear(module.weight, module.bias, dtype, exact=name in EXACT)
    if isinstance(module, StepLstm):
        return PackedLstm(module, dtype)
    return _pack_modules(module, dtype) if module._modules else module


class PackedLinear(nn.Module):
    """A linear layer with weights float [N, X] that are reordered once; takes and returns float32.

    If ``exact``, products in bfloat16 keep the precision of float32.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, *, exact: bool = False
    ) -> None:
        super().__init__()
        self.dtype, self.exact = dtype, exact and dtype != torch.float32
        self.weight = weight.detach()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(self.weight.to(dtype).contiguous(), BLOCK_ROWS)
        self.bias = None if bias is None else bias.detach().float()

    def forward(self, values: Tensor) -> Tensor:
        """Return float32 [..., N] for float32 [..., X]."""
        rows = values.reshape(-1, values.shape[-1]).to(self.dtype)  # [M, X]
        if self.dtype == torch.bfloat16:
            products = self._multiply_in_blocks(rows)
        else:
            products = self._multiply(_pad_rows(rows, MIN_ROWS))[: len(rows)]
        if self.bias is not None:
            products += self.bias
        return products.view(*values.shape[:-1], self.weight.shape[0])

    def _multiply_in_blocks(self, rows: Tensor) -> Tensor:
        products = torch.empty(len(rows), self.weight.shape[0])
        for start in range(0, len(rows), BLOCK_ROWS):
            count = min(BLOCK_ROWS, len(rows) - start)
            block = _pad_rows(rows[start : start + count], BLOCK_ROWS)
            rounded = self._multiply(block)
            products[start : start + count] = rounded[:count]
            if self.exact:
                # The rounding error: of the negated rows, rounded too, but a far smaller number.
                negative = torch.neg(block)
                error = torch.ops.mkldnn._linear_pointwise.binary(negative, rounded, self.packed, None, "add")
                products[start : start + count] -= error[:count]
        return products

    def _multiply(self, rows: Tensor) -> Tensor:
        products: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.packed, None, "none", [], "")
        return products


def _pad_rows(rows: Tensor, count: int) -> Tensor:
    missing = count - len(rows)
    return rows if missing <= 0 else torch.cat((rows, rows.new_zeros(missing, rows.shape[1])))


class PackedLstm(nn.Module):
    """A `StepLstm` in float32 that takes a step by one product."""

    def __init__(self, lstm: StepLstm, dtype: torch.dtype) -> None:
        super().__init__()
        input_weight, hidden_weight, input_bias, hidden_bias = lstm.parameters()  # torch's order
        weight = torch.cat((input_weight, hidden_weight), dim=1)
        self.gates = PackedLinear(weight, input_bias + hidden_bias, dtype)

    def step(self, inputs: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Return the new hidden state and cell [..., H] for inputs [..., X], hidden state and cell [..., H]."""
        return lstm_update(self.gates(torch.cat((inputs, hidden), dim=-1)), cell)
