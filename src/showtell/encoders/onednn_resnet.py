"""The frozen ResNet on a CPU: each convolution with its ReLU, and with the addition before it, as one oneDNN call.

Eager PyTorch writes every intermediate map three times (convolution, addition, ReLU) and reorders the weights at
every call. The calls that its compiler emits do it once, with weights reordered beforehand; on two cores with AMX
that was 3 times as fast in bfloat16 (batch 32), and nearer to float32, since sums are rounded once. These calls have
no public name: where they are missing, or the tensors are not on a CPU, the plain network runs.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from showtell.encoders.resnet import ResNet
from showtell.kernels.onednn import can_compute
from showtell.system.batch_pool import cancellable

PACKED_BATCH = 32
"""Weights are laid out for this many pictures; other counts give the same numbers at about the same speed."""

_PACKING = Lock()
"""Weights are laid out by one thread, which others wait for; of the module, as networks are copied and pickled."""


def can_fuse(dtype: torch.dtype) -> bool:
    """Return whether this PyTorch has the fused calls, for tensors of a dtype on this processor."""
    return (
        can_compute(dtype)
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise_")
        and hasattr(torch._C._nn, "mkldnn_reorder_conv2d_weight")
    )


class FusedResNet(nn.Module):
    """A folded, frozen `ResNet` that computes the same map faster where it can.

    Args:
        plain: The network after `showtell.encoders.resnet.fold_batch_norms`.
    """

    def __init__(self, plain: ResNet):
        super().__init__()
        self.plain = plain
        self._packed: dict[nn.Module, Tensor] = {}

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the map [P, D, h, w] of normalised pictures float [P, 3, H, W], see `ResNet.join`."""
        if pictures.device.type != "cpu" or torch.is_grad_enabled() or not can_fuse(pictures.dtype):
            unfused: Tensor = self.plain(pictures)
            return unfused
        if not self._packed:
            with _PACKING:
                if not self._packed:
                    self._pack(pictures)
        x = max_pool_3x3(self._convolve(self.plain.conv1, pictures, "relu"))  # [P, 64, H/4, W/4]
        maps = []
        for stage in range(1, 5):
            for block in cancellable(getattr(self.plain, f"layer{stage}")):
                x = self._block(block, x)
            if stage in self.plain.stages:
                maps.append(x)  # the next stage's shortcut is a convolution: nothing writes over it
        return self.plain.join(maps)

    def _block(self, block: Any, x: Tensor) -> Tensor:
        shortcut = x if block.downsample is None else self._convolve(block.downsample[0], x, "none")
        for index in range(1, block.convolutions):
            x = self._convolve(getattr(block, f"conv{index}"), x, "relu")
        last = getattr(block, f"conv{block.convolutions}")
        # Adds into `shortcut`; an input that is its own shortcut is not read again.
        torch.ops.mkldnn._convolution_pointwise_(
            shortcut, x, self._packed[last], last.bias, *_geometry(last), "add", None, "relu", [], None
        )
        return shortcut

    def _convolve(self, convolution: nn.Conv2d, x: Tensor, activation: str) -> Tensor:
        weight, bias = self._packed[convolution], convolution.bias
        convolved: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, weight, bias, *_geometry(convolution), activation, [], ""
        )
        return convolved

    def _pack(self, pictures: Tensor) -> None:
        """Reorder the weights for maps of the sizes that these pictures give."""
        sizes: dict[nn.Module, list[int]] = {}

        def remember(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            sizes[module] = [PACKED_BATCH, *inputs[0].shape[1:]]

        convolutions = [module for module in self.plain.modules() if isinstance(module, nn.Conv2d)]
        hooks = [module.register_forward_hook(remember) for module in convolutions]
        self.plain(pictures[:1])
        for hook in hooks:
            hook.remove()
        reorder: Callable[..., Tensor] = (
            torch._C._nn.mkldnn_reorder_conv2d_weight
        )  # its stub lacks an argument
        self._packed = {
            module: reorder(module.weight.detach().to_mkldnn(), *_geometry(module), sizes[module])
            for module in convolutions
        }

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> FusedResNet:
        self._packed = {}  # another device or dtype
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def __getstate__(self) -> dict[str, Any]:
        # Reordered weights cannot be copied or pickled; they are made again when needed.
        return {**self.__dict__, "_packed": {}}


def max_pool_3x3(x: Tensor) -> Tensor:
    """Return the greatest of each 3x3 with stride 2, as ResNet's first pooling does, of numbers none below zero.

    PyTorch's own pooling remembers where each greatest stood. Bits of bfloat16
    numbers that are not negative are ordered like integers, whose maxima are quicker still.
    """
    rows, columns = x.shape[2:]
    if rows % 2 or columns % 2 or x.dtype != torch.bfloat16:
        pooled: Tensor = functional.max_pool2d(x, 3, 2, padding=1)
        return pooled
    numbers = x.permute(0, 2, 3, 1).view(torch.int16)  # [P, H, W, C]
    tall = torch.maximum(numbers[:, 0::2], numbers[:, 1::2])  # [P, H/2, W, C]
    torch.maximum(tall[:, 1:], numbers[:, 1:-1:2], out=tall[:, 1:])
    both = torch.maximum(tall[:, :, 0::2], tall[:, :, 1::2])  # [P, H/2, W/2, C]
    torch.maximum(both[:, :, 1:], tall[:, :, 1:-1:2], out=both[:, :, 1:])
    return both.view(torch.bfloat16).permute(0, 3, 1, 2)


def _geometry(convolution: nn.Conv2d) -> tuple[Any, Any, Any, int]:
    return convolution.padding, convolution.stride, convolution.dilation, convolution.groups
