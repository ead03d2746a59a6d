"""3x3 convolutions by Winograd's minimal filtering, for processors whose convolutions wait for multiplications.

Source: Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4: F(2x2, 3x3) takes 16
products for 4 outputs of a 3x3 filter, F(4x4, 3x3) 36 for 16, where the definition takes 36 and 144.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

_TILES = 100
"""Tiles that are transformed together: enough for full speed of the products, few enough for the caches."""

_MIN_TILES = 16
"""Products of fewer tiles are filled up: those of up to 3 rows have other last digits, and so would a lone image."""

_LARGE_CHANNELS = 512
"""From here on the weights of F(4x4, 3x3), four times those of the filters, take more memory than they save time."""


class _Transforms(NamedTuple):
    """B of the input [s*s, s*s], G of the filter [s, 3], A of the output [m*m, s*s], s = m + 2 (equations 8, 13)."""

    outputs: int
    input: Tensor
    filter: Tensor
    output: Tensor


def _transforms(b: list[list[float]], g: list[list[float]], a: list[list[float]]) -> _Transforms:
    # Of two axes at once: B^T d B and A^T m A as one product each with the flattened tile.
    across_b, across_a = (torch.kron(matrix, matrix) for matrix in (torch.tensor(b), torch.tensor(a)))
    return _Transforms(len(a), across_b, torch.tensor(g, dtype=torch.float64), across_a)


_F2 = _transforms(
    b=[[1.0, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
    g=[[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
    a=[[1.0, 1, 1, 0], [0, 1, -1, -1]],
)
_F4 = _transforms(
    b=[
        [4.0, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    g=[
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    a=[[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
)


def is_winograd_faster(convolution: nn.Conv2d) -> bool:
    """Return whether a convolution has a form here that is faster on this processor.

    On AVX2 it is 1.2 times (64 channels) to 2 times (256 channels) as fast as oneDNN's direct convolution. Other
    processors have more multiplications for each byte that they read, and were not measured.
    """
    return (
        convolution.weight.dtype == torch.float32
        and convolution.kernel_size == (3, 3)
        and convolution.stride == convolution.dilation == convolution.padding == (1, 1)
        and convolution.groups == 1
        and torch.backends.cpu.get_cpu_capability() == "AVX2"
    )


class WinogradConvolution:
    """A 3x3 convolution with stride 1, padding 1 and a ReLU after it, in float32, for inference."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        """Transform the weights [K, C, 3, 3]."""
        self._transforms = t = _F2 if convolution.in_channels >= _LARGE_CHANNELS else _F4
        weight = convolution.weight.detach().double()
        tiles = torch.einsum("ai,kcij,bj->abck", t.filter, weight, t.filter).float()  # [s, s, C, K]
        self._weight = tiles.flatten(0, 1).contiguous()  # [s*s, C, K]
        self._bias = tiles.new_zeros(len(weight)) if convolution.bias is None else convolution.bias

    def __call__(self, x: Tensor) -> Tensor:
        """Return the map float32 [P, K, H, W] of a map [P, C, H, W], both channels last."""
        m = self._transforms.outputs
        count, _, height, width = x.shape
        down, across = math.ceil(height / m), math.ceil(width / m)
        padding = (0, 0, 1, m * across + 1 - width, 1, m * down + 1 - height)
        result = x.new_empty(count, m * down, m * across, self._weight.shape[2])
        images = math.ceil(count / math.ceil(count * down * across / _TILES)) if count else 1
        rows = math.ceil(down / math.ceil(down * across / _TILES))
        for start in range(0, count, images):
            block = nn.functional.pad(x[start : start + images].permute(0, 2, 3, 1), padding)
            for row in range(0, down, rows):
                into = result[start : start + images, m * row : m * (row + rows)]  # [P', m*rows, W', K]
                self._convolve(block[:, m * row : m * (row + rows) + 2], into)
        return result[:, :height, :width].contiguous().permute(0, 3, 1, 2)

    def _convolve(self, block: Tensor, into: Tensor) -> None:
        """Convolve a padded block [P, m*h + 2, m*w + 2, C] into [P, m*h, m*w, K]."""
        m, across_b, _, across_a = self._transforms
        s = m + 2
        tiles = block.unfold(1, s, m).unfold(2, s, m)  # [P, h, w, C, s, s]
        count, down, across, channels = tiles.shape[:4]
        tiles = tiles.permute(4, 5, 0, 1, 2, 3).reshape(s * s, -1)  # [s*s, P*h*w*C]
        transformed = (across_b @ tiles).view(s * s, -1, channels)  # [s*s, P*h*w, C]
        number = transformed.shape[1]
        if number < _MIN_TILES:
            transformed = nn.functional.pad(transformed, (0, 0, 0, _MIN_TILES - number))
        products = torch.bmm(transformed, self._weight)[:, :number]  # [s*s, P*h*w, K]
        outputs = (across_a @ products.flatten(1)).view(m, m, count, down, across, -1)
        outputs = outputs.permute(2, 3, 0, 4, 1, 5)  # [P, h, m, w, m, K]
        torch.add(outputs, self._bias, out=into.view(outputs.shape)).relu_()
