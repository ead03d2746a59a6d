"""DenseNet-121 to -201 (Huang et al. 2017) up to the last map, with torchvision's and timm's names."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from showtell.encoders.onednn_network import FusedNetwork, max_pool_3x3
from showtell.encoders.resnet import adaptive_avg_pool
from showtell.system.batch_pool import cancellable

BLOCKS: dict[int, tuple[int, int, int, int]] = {
    121: (6, 12, 24, 16),
    161: (6, 12, 36, 24),
    169: (6, 12, 32, 32),
    201: (6, 12, 48, 32),
}
"""Layers of the four dense blocks by depth (Huang et al. 2017, table 1; 161 from the authors' repository)."""

BOTTLENECK = 4
"""Channels of a layer's 1x1 convolution, in growth rates (section 3, "Bottleneck layers")."""


class _Layer(nn.Module):
    """BN-ReLU-Conv1x1-BN-ReLU-Conv3x3 on all maps before it (section 3)."""

    def __init__(self, inputs: int, growth: int):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, BOTTLENECK * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(BOTTLENECK * growth)
        self.conv2 = nn.Conv2d(BOTTLENECK * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm1(x))
        x = torch.relu(self.norm2(self.conv1(x)))
        return self.conv2(x)  # type: ignore[no-any-return]


class _Block(nn.Sequential):
    """Layers, each of which adds its map to those that the next ones read."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in cancellable(self):
            x = torch.cat([x, layer(x)], dim=1)
        return x


class _Transition(nn.Module):
    """Half the channels, half the resolution (section 3, "Pooling layers" and "Compression")."""

    def __init__(self, inputs: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, inputs // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.before_convolution(x))  # type: ignore[no-any-return]

    def before_convolution(self, x: Tensor) -> Tensor:
        # The mean of 2x2 positions commutes with a 1x1 convolution, which then has a quarter of the work.
        return nn.functional.avg_pool2d(torch.relu(self.norm(x)), 2)


class DenseNet(nn.Module):
    """The network of depth 121, 161, 169 or 201, without its classifier.

    ``width`` channels D. ``grid`` are the rows and columns of the result; None: those of the last map.
    """

    def __init__(self, depth: int, *, grid: int | None = None):
        super().__init__()
        self.grid = grid
        growth, channels = (48, 96) if depth == 161 else (32, 64)
        layers: dict[str, nn.Module] = {
            "conv0": nn.Conv2d(3, channels, 7, 2, padding=3, bias=False),
            "norm0": nn.BatchNorm2d(channels),
            "relu0": nn.ReLU(inplace=True),
            "pool0": nn.MaxPool2d(3, 2, padding=1),
        }
        for index, count in enumerate(BLOCKS[depth], start=1):
            block = _Block()
            for layer in range(1, count + 1):
                block.add_module(f"denselayer{layer}", _Layer(channels, growth))
                channels += growth
            layers[f"denseblock{index}"] = block
            if index < len(BLOCKS[depth]):
                layers[f"transition{index}"] = _Transition(channels)
                channels //= 2
        layers["norm5"] = nn.BatchNorm2d(channels)
        self.features = nn.Sequential()
        for name, module in layers.items():
            self.features.add_module(name, module)
        self.width = channels

    def forward(self, images: Tensor) -> Tensor:
        """Return the map [P, D, h, w] of normalized images [P, 3, H, W]; h is H/32 without a grid."""
        return self.pool(torch.relu(self.features(images)))

    def pool(self, maps: Tensor) -> Tensor:
        """Pool the last map [P, D, H', W'] to the grid, [P, D, h, w]."""
        return maps if self.grid is None else adaptive_avg_pool(maps, self.grid, self.grid)

    def fold_batch_norms(self) -> None:
        """Fold the batch norms that follow a convolution into it, in place, in eval mode."""
        for module in self.modules():
            if isinstance(module, _Layer):
                module.conv1 = fuse_conv_bn_eval(module.conv1, module.norm2)
                module.norm2 = nn.Identity()  # type: ignore[assignment]
        first: Any = self.features
        first.conv0, first.norm0 = fuse_conv_bn_eval(first.conv0, first.norm0), nn.Identity()


class FusedDenseNet(FusedNetwork):
    """A frozen `DenseNet` after `DenseNet.fold_batch_norms`."""

    def _run(self, images: Tensor) -> Tensor:
        features = self.plain.features
        x = max_pool_3x3(self.convolve(features.conv0, images, "relu"))  # [P, C, H/4, W/4]
        for module in features:
            if isinstance(module, _Block):
                layers: Iterable[Any] = cancellable(module)
                for layer in layers:
                    own = self.convolve(layer.conv1, torch.relu(layer.norm1(x)), "relu")
                    x = torch.cat([x, self.convolve(layer.conv2, own, "none")], dim=1)
            elif isinstance(module, _Transition):
                x = self.convolve(module.conv, module.before_convolution(x), "none")
        return self.plain.pool(torch.relu(features.norm5(x)))  # type: ignore[no-any-return]
