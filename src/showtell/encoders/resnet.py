"""ResNet-18 to -152 up to the last stage's map, in both stride layouts, with torchvision's and timm's names.

The stride layout is the convolution that has the stride 2 of a bottleneck stage: ``conv1``, the first 1x1 (He et
al. 2015, "Deep Residual Learning for Image Recognition", table 1, and the weights of Caffe, MSRA and Keras), or
``conv2``, the 3x3 (torchvision's and timm's, "v1.5"). Both have the same parameters and shapes, so weights load into
the wrong layout without an error and only give worse features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from showtell.config.encoder import StrideIn

BLOCKS: dict[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Blocks of the four stages by depth (He et al. 2015, table 1)."""

MIN_BOTTLENECK_DEPTH = 50

EARLY_STAGE_SCALE = 4.0
"""Factor for the maps of stages 1 to 3: the last stage's activations are about this much larger."""


def _conv(inputs: int, outputs: int, size: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


class _Block(nn.Module):
    """Convolutions with batch norm, ReLU in between, and a shortcut around them (He et al. 2015, figure 5)."""

    def __init__(
        self, inputs: int, sizes: tuple[int, ...], widths: tuple[int, ...], strides: tuple[int, ...]
    ):
        super().__init__()
        self.convolutions = len(sizes)
        channels, total_stride = inputs, 1
        for index, (size, width, stride) in enumerate(zip(sizes, widths, strides, strict=True), start=1):
            self.add_module(f"conv{index}", _conv(channels, width, size, stride))
            self.add_module(f"bn{index}", nn.BatchNorm2d(width))
            channels, total_stride = width, total_stride * stride
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if total_stride > 1 or inputs != channels:
            shortcut = _conv(inputs, channels, 1, total_stride)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        for index in range(1, self.convolutions + 1):
            x = getattr(self, f"bn{index}")(getattr(self, f"conv{index}")(x))
            x = self.relu(x) if index < self.convolutions else x
        x += shortcut
        return self.relu(x)  # type: ignore[no-any-return]


def _block(depth: int, stride_in: StrideIn, inputs: int, width: int, stride: int) -> _Block:
    if depth < MIN_BOTTLENECK_DEPTH:
        return _Block(inputs, (3, 3), (width, width), (stride, 1))
    strides = (stride, 1, 1) if stride_in == "conv1" else (1, stride, 1)
    return _Block(inputs, (1, 3, 1), (width, width, 4 * width), strides)


class ResNet(nn.Module):
    """The network of depth 18, 34, 50, 101 or 152, without its classifier.

    The maps of ``stages``, ascending to 4, are concatenated: ``width`` channels D, 512 or 2048 for the last stage
    alone. ``grid`` are the rows and columns of the result; None: those of the last stage. Depths 18 and 34 have a
    single stride layout.
    """

    def __init__(
        self,
        depth: int,
        stride_in: StrideIn = "conv2",
        *,
        stages: Sequence[int] = (4,),
        grid: int | None = None,
    ):
        super().__init__()
        self.stages, self.grid = tuple(stages), grid
        self.conv1 = _conv(3, 64, 7, 2)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        inputs, expansion = 64, 4 if depth >= MIN_BOTTLENECK_DEPTH else 1
        for stage, count in enumerate(BLOCKS[depth]):
            width = 64 * 2**stage
            blocks = []
            for index in range(count):
                blocks.append(_block(depth, stride_in, inputs, width, 2 if stage and not index else 1))
                inputs = width * expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.width = sum(64 * 2 ** (stage - 1) * expansion for stage in self.stages)

    def forward(self, images: Tensor) -> Tensor:
        """Return the map [P, D, h, w] of normalized images [P, 3, H, W]; h is H/32, rounded up, without a grid."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))  # [P, 64, H/4, W/4]
        maps = []
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
            if stage in self.stages:
                maps.append(x)
        return self.concat_stages(maps)

    def concat_stages(self, maps: Sequence[Tensor]) -> Tensor:
        """Pool the maps [P, D', H', W'] of ``stages`` to one grid and concatenate their channels, [P, D, h, w]."""
        rows, columns = (self.grid, self.grid) if self.grid else maps[-1].shape[2:]
        pooled = [
            adaptive_avg_pool(each if stage == 4 else EARLY_STAGE_SCALE * each, rows, columns)
            for stage, each in zip(self.stages, maps, strict=True)
        ]
        return pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=1)

    def fold_batch_norms(self) -> None:
        """Fold each batch norm into the convolution before it, in place, in eval mode."""
        for module in self.modules():
            pairs = [(f"conv{index}", f"bn{index}") for index in range(1, 4)] + [("0", "1")]
            for conv_name, norm_name in pairs:
                conv, norm = getattr(module, conv_name, None), getattr(module, norm_name, None)
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
                    setattr(module, norm_name, nn.Identity())


def adaptive_avg_pool(values: Tensor, rows: int, columns: int) -> Tensor:
    """Return the mean of a map [P, D, H, W] over each cell of a grid, [P, D, rows, columns].

    Unlike PyTorch's, it weights a position that crosses a cell's border by the overlap.
    """
    if values.shape[2:] == (rows, columns):
        return values
    down, across = (
        _overlaps(cells, positions).to(values)
        for cells, positions in zip((rows, columns), values.shape[2:], strict=True)
    )
    return torch.matmul(torch.matmul(down, values), across.T)


def _overlaps(cells: int, positions: int) -> Tensor:
    """Return the fraction of each cell that each position of an axis covers, [cells, positions]; rows sum to 1."""
    cell = torch.arange(cells, dtype=torch.float64).unsqueeze(1) / cells
    position = torch.arange(positions, dtype=torch.float64) / positions
    overlap = torch.minimum(cell + 1 / cells, position + 1 / positions) - torch.maximum(cell, position)
    return overlap.clamp_min(0.0) * cells
