"""ResNet-18 to -152 up to the last stage's map, in both layouts, under torchvision's and timm's names.

A layout is the place of the stride 2 that opens a stage of bottleneck blocks: ``conv1``, the first 1x1 (He et
al. 2015, "Deep Residual Learning for Image Recognition", table 1, and the weights of Caffe, MSRA and Keras), or
``conv2``, the 3x3 (torchvision's and timm's, "v1.5"). Both have the same parameters of the same shapes, so
weights load into the wrong one without an error and merely see worse.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from showtell.config.encoder import Layout

BLOCKS: dict[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Depth: blocks in each of the four stages (He et al. 2015, table 1)."""

FIRST_BOTTLENECK_DEPTH = 50

EARLY_STAGE_SCALE = 4.0
"""Maps of earlier stages are multiplied by this beside the last one's, whose numbers are about so much larger."""


def _conv(inputs: int, outputs: int, size: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


class _Block(nn.Module):
    """Convolutions with batch norm, ReLU between, the input added at the end (He et al. 2015, figure 5)."""

    def __init__(
        self, inputs: int, sizes: tuple[int, ...], widths: tuple[int, ...], strides: tuple[int, ...]
    ):
        super().__init__()
        self.convolutions = len(sizes)
        before, stride = inputs, 1
        for index, (size, width, step) in enumerate(zip(sizes, widths, strides, strict=True), start=1):
            self.add_module(f"conv{index}", _conv(before, width, size, step))
            self.add_module(f"bn{index}", nn.BatchNorm2d(width))
            before, stride = width, stride * step
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride > 1 or inputs != before:
            self.downsample = nn.Sequential(_conv(inputs, before, 1, stride), nn.BatchNorm2d(before))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        for index in range(1, self.convolutions + 1):
            x = getattr(self, f"bn{index}")(getattr(self, f"conv{index}")(x))
            x = self.relu(x) if index < self.convolutions else x
        x += shortcut
        return self.relu(x)  # type: ignore[no-any-return]


def _block(depth: int, layout: Layout, inputs: int, width: int, stride: int) -> _Block:
    if depth < FIRST_BOTTLENECK_DEPTH:
        return _Block(inputs, (3, 3), (width, width), (stride, 1))
    strides = (stride, 1, 1) if layout == "conv1" else (1, stride, 1)
    return _Block(inputs, (1, 3, 1), (width, width, 4 * width), strides)


class ResNet(nn.Module):
    """The network without its classifier.

    Args:
        depth: 18, 34, 50, 101 or 152.
        layout: Where the stride 2 of a bottleneck stage sits; 18 and 34 have one layout only.
        stages: Whose maps are given, side by side, ascending; the last is 4.
        grid: Rows and columns of the map; None: as the last stage has it.

    Attributes:
        width: Channels D of those stages together: 512 or 2048 for the last one.
    """

    def __init__(
        self, depth: int, layout: Layout = "conv2", *, stages: Sequence[int] = (4,), grid: int | None = None
    ):
        super().__init__()
        self.depth, self.layout, self.stages, self.grid = depth, layout, tuple(stages), grid
        self.conv1 = _conv(3, 64, 7, 2)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        inputs, widening = 64, 4 if depth >= FIRST_BOTTLENECK_DEPTH else 1
        for stage, count in enumerate(BLOCKS[depth]):
            width = 64 * 2**stage
            blocks = []
            for index in range(count):
                blocks.append(_block(depth, layout, inputs, width, 2 if stage and not index else 1))
                inputs = width * widening
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.width = sum(64 * 2 ** (stage - 1) * widening for stage in self.stages)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the map [P, D, h, w] of normalised pictures [P, 3, H, W], see `join`.

        The last stage's alone, with no grid asked for, is [P, D, H/32, W/32] (rounded up).
        """
        x = self.maxpool(self.relu(self.bn1(self.conv1(pictures))))  # [P, 64, H/4, W/4]
        maps = []
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
            if stage in self.stages:
                maps.append(x)
        return self.join(maps)

    def join(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the maps [P, D', H', W'] of ``stages`` side by side on one grid, [P, D, h, w]."""
        rows, columns = (self.grid, self.grid) if self.grid else maps[-1].shape[2:]
        joined = [
            adaptive_avg_pool(one if stage == 4 else EARLY_STAGE_SCALE * one, rows, columns)
            for stage, one in zip(self.stages, maps, strict=True)
        ]
        return joined[0] if len(joined) == 1 else torch.cat(joined, dim=1)


def adaptive_avg_pool(values: Tensor, rows: int, columns: int) -> Tensor:
    """Return the mean of a map [P, D, H, W] over each cell of a grid laid over it, [P, D, rows, columns].

    What the border of two cells goes through counts in both, in each by its share.
    """
    if values.shape[2:] == (rows, columns):
        return values
    down, across = (
        _shares(cells, places).to(values)
        for cells, places in zip((rows, columns), values.shape[2:], strict=True)
    )
    return torch.matmul(torch.matmul(down, values), across.T)


def _shares(cells: int, places: int) -> Tensor:
    """Return how much of each cell lies in each place of a line, [cells, places]; the shares of a cell sum to 1."""
    cell = torch.arange(cells, dtype=torch.float64).unsqueeze(1) / cells
    place = torch.arange(places, dtype=torch.float64) / places
    overlap = torch.minimum(cell + 1 / cells, place + 1 / places) - torch.maximum(cell, place)
    return overlap.clamp_min(0.0) * cells


def fold_batch_norms(network: nn.Module) -> None:
    """Fold each batch norm into the convolution before it, in place; for frozen networks in eval mode only.

    Understands the naming of `ResNet` (``convN`` and ``bnN`` side by side, a shortcut of two).
    """
    for module in network.modules():
        pairs = [(f"conv{index}", f"bn{index}") for index in range(1, 4)] + [("0", "1")]
        for conv_name, norm_name in pairs:
            conv, norm = getattr(module, conv_name, None), getattr(module, norm_name, None)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, nn.Identity())
