"""Frozen networks on a CPU: each convolution with what follows it as one oneDNN call on weights in its own order.

Eager PyTorch writes every intermediate map three times (convolution, addition, ReLU) and reorders the weights at
every call. The operators that its compiler emits write it once and take reordered weights: 3 times as fast in
bfloat16 (ResNet-50, batch 32, two cores with AMX), and closer to float32, since sums are rounded once. Reordered for
one batch size, they also give an image the same values in any batch. These operators are not public: where they are
missing, or off the CPU, the plain network runs. `showtell.kernels.winograd` computes the 3x3 convolutions where that
is faster.
"""

from collections.abc import Callable
from threading import Lock
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from showtell.kernels.onednn import can_compute
from showtell.kernels.winograd import WinogradConvolution, is_winograd_faster

PACKED_BATCH = 32
"""Weights are reordered for this batch size; others give the same values at about the same speed."""

_PACKING = Lock()
"""One thread reorders the weights. A global, because networks are copied and pickled."""


def can_fuse(dtype: torch.dtype) -> bool:
    """Return whether this PyTorch has the fused operators, for a dtype on this processor."""
    return (
        can_compute(dtype)
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise_")
        and hasattr(torch._C._nn, "mkldnn_reorder_conv2d_weight")
    )


class FusedNetwork(nn.Module):
    """A frozen network whose convolutions are fused where possible; `_run` is its forward pass in `convolve`."""

    def __init__(self, plain: nn.Module):
        super().__init__()
        self.plain: Any = plain
        self._packed: dict[nn.Module, Tensor | WinogradConvolution] = {}

    def forward(self, images: Tensor) -> Tensor:
        """Return the map [P, D, h, w] of normalized images float [P, 3, H, W]."""
        if images.device.type != "cpu" or torch.is_grad_enabled() or not can_fuse(images.dtype):
            return self.plain(images)  # type: ignore[no-any-return]
        if not self._packed:
            with _PACKING:
                if not self._packed:
                    self._pack(images)
        return self._run(images)

    def convolve(self, convolution: nn.Conv2d, x: Tensor, activation: Literal["relu", "none"]) -> Tensor:
        """Return a convolution of x, and its ReLU."""
        packed = self._packed[convolution]
        if isinstance(packed, WinogradConvolution):
            return packed(x)
        return torch.ops.mkldnn._convolution_pointwise(  # type: ignore[no-any-return]
            x, packed, convolution.bias, *_geometry(convolution), activation, [], ""
        )

    def convolve_and_add_(self, convolution: nn.Conv2d, x: Tensor, into: Tensor) -> Tensor:
        """Return ``into``, overwritten with the ReLU of its sum with a convolution of x."""
        torch.ops.mkldnn._convolution_pointwise_(
            into,
            x,
            self._packed[convolution],
            convolution.bias,
            *_geometry(convolution),
            "add",
            None,
            "relu",
            [],
            None,
        )
        return into

    def _run(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def _followed_by_relu(self) -> set[nn.Module]:
        """Return the convolutions that are only ever computed with their ReLU."""
        return set()

    def _pack(self, images: Tensor) -> None:
        """Reorder the weights for the input sizes that these images give."""
        sizes: dict[nn.Module, list[int]] = {}

        def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            sizes[module] = [PACKED_BATCH, *inputs[0].shape[1:]]

        convolutions = [module for module in self.plain.modules() if isinstance(module, nn.Conv2d)]
        hooks = [module.register_forward_hook(record) for module in convolutions]
        self.plain(images[:1])
        for hook in hooks:
            hook.remove()
        # The stub of the operator lacks an argument.
        reorder: Callable[..., Tensor] = torch._C._nn.mkldnn_reorder_conv2d_weight
        followed_by_relu = self._followed_by_relu()
        self._packed = {
            module: WinogradConvolution(module)
            if module in followed_by_relu and is_winograd_faster(module)
            else reorder(module.weight.detach().to_mkldnn(), *_geometry(module), sizes[module])
            for module in convolutions
        }

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "FusedNetwork":
        self._packed = {}  # another device or dtype
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def __getstate__(self) -> dict[str, Any]:
        # Reordered weights cannot be copied or pickled; `forward` makes them again.
        return {**self.__dict__, "_packed": {}}


def max_pool_3x3(x: Tensor) -> Tensor:
    """Return the 3x3 max pooling of ResNet and DenseNet, stride 2 and padding 1, of values that are not negative.

    PyTorch's max_pool2d also stores the indices of the maxima. The bits of non-negative bfloat16 values are ordered
    like integers, whose maxima are faster still.
    """
    rows, columns = x.shape[2:]
    if rows % 2 or columns % 2 or x.dtype != torch.bfloat16:
        return functional.max_pool2d(x, 3, 2, padding=1)
    bits = x.permute(0, 2, 3, 1).view(torch.int16)  # [P, H, W, C]
    by_rows = torch.maximum(bits[:, 0::2], bits[:, 1::2])  # [P, H/2, W, C]
    torch.maximum(by_rows[:, 1:], bits[:, 1:-1:2], out=by_rows[:, 1:])
    result = torch.maximum(by_rows[:, :, 0::2], by_rows[:, :, 1::2])  # [P, H/2, W/2, C]
    torch.maximum(result[:, :, 1:], by_rows[:, :, 1:-1:2], out=result[:, :, 1:])
    return result.view(torch.bfloat16).permute(0, 3, 1, 2)


def _geometry(convolution: nn.Conv2d) -> tuple[Any, Any, Any, int]:
    return convolution.padding, convolution.stride, convolution.dilation, convolution.groups
