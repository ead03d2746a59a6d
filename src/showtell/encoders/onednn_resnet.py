"""The frozen ResNet on a CPU: each convolution fused with its addition and ReLU into one oneDNN call.

Eager PyTorch writes every intermediate map three times (convolution, addition, ReLU) and reorders the weights at
every call. The operators that its compiler emits write it once and take reordered weights: 3 times as fast in
bfloat16 (batch 32, two cores with AMX), and closer to float32, since sums are rounded once. These operators are not
public: where they are missing, or off the CPU, the plain network runs. `showtell.kernels.winograd` computes the 3x3
convolutions where that is faster.
"""

from collections.abc import Callable
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from showtell.encoders.resnet import ResNet
from showtell.kernels.onednn import can_compute
from showtell.kernels.winograd import WinogradConvolution, is_winograd_faster
from showtell.system.batch_pool import cancellable

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


class FusedResNet(nn.Module):
    """A frozen `ResNet` after `showtell.encoders.resnet.fold_batch_norms`, fused where possible."""

    def __init__(self, plain: ResNet):
        super().__init__()
        self.plain = plain
        self._packed: dict[nn.Module, Tensor | WinogradConvolution] = {}

    def forward(self, images: Tensor) -> Tensor:
        """Return the map [P, D, h, w] of normalized images float [P, 3, H, W]."""
        if images.device.type != "cpu" or torch.is_grad_enabled() or not can_fuse(images.dtype):
            return self.plain(images)  # type: ignore[no-any-return]
        if not self._packed:
            with _PACKING:
                if not self._packed:
                    self._pack(images)
        x = max_pool_3x3(self._convolve(self.plain.conv1, images, "relu"))  # [P, 64, H/4, W/4]
        maps = []
        for stage in range(1, 5):
            for block in cancellable(getattr(self.plain, f"layer{stage}")):
                x = self._block(block, x)
            if stage in self.plain.stages:
                maps.append(x)  # safe: the next stage's shortcut is a convolution and does not write into x
        return self.plain.concat_stages(maps)

    def _block(self, block: Any, x: Tensor) -> Tensor:
        shortcut = x if block.downsample is None else self._convolve(block.downsample[0], x, "none")
        for index in range(1, block.convolutions):
            x = self._convolve(getattr(block, f"conv{index}"), x, "relu")
        last = getattr(block, f"conv{block.convolutions}")
        # Adds into `shortcut` in place; a block's input is not read again.
        torch.ops.mkldnn._convolution_pointwise_(
            shortcut, x, self._packed[last], last.bias, *_geometry(last), "add", None, "relu", [], None
        )
        return shortcut

    def _convolve(self, convolution: nn.Conv2d, x: Tensor, activation: str) -> Tensor:
        packed = self._packed[convolution]
        if isinstance(packed, WinogradConvolution):
            return packed(x)
        return torch.ops.mkldnn._convolution_pointwise(  # type: ignore[no-any-return]
            x, packed, convolution.bias, *_geometry(convolution), activation, [], ""
        )

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
        reorder: Callable[..., Tensor] = (
            torch._C._nn.mkldnn_reorder_conv2d_weight
        )  # its stub lacks an argument
        # The last convolution of a block adds to its shortcut, which oneDNN's direct form alone does in place.
        followed_by_relu = {
            getattr(block, f"conv{index}")
            for stage in range(1, 5)
            for block in getattr(self.plain, f"layer{stage}")
            for index in range(1, block.convolutions)
        }
        self._packed = {
            module: WinogradConvolution(module)
            if module in followed_by_relu and is_winograd_faster(module)
            else reorder(module.weight.detach().to_mkldnn(), *_geometry(module), sizes[module])
            for module in convolutions
        }

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "FusedResNet":
        self._packed = {}  # another device or dtype
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def __getstate__(self) -> dict[str, Any]:
        # Reordered weights cannot be copied or pickled; `forward` makes them again.
        return {**self.__dict__, "_packed": {}}


def max_pool_3x3(x: Tensor) -> Tensor:
    """Return ResNet's 3x3 max pooling with stride 2 and padding 1, for values that are not negative.

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
