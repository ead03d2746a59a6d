"""A small convolutional network that is trained from scratch with its decoder, for drawn scenes.

Four convolutions with batch norm and maximum pooling. Place must be told, so two coordinate channels (Liu et al.
2018, "An intriguing failing of convolutional neural networks and the CoordConv solution") are added to the picture,
and four to the map: a region says where it is, without the convolutions having to carry it there. On drawn scenes,
pooling told kinds apart in fewer steps than strided convolutions of the same width.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from showtell.config.preprocessing import Preprocessing

NARROWEST = 16


def _stage(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]


class SmallCnn(nn.Module):
    """Normalised pictures float [P, 3, S, S] to a map [P, D, S/16, S/16], of which four channels say where.

    Args:
        width: Channels D of the map, a multiple of 8.
    """

    preprocessing: ClassVar[Preprocessing] = Preprocessing(size=96, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

    def __init__(self, width: int):
        super().__init__()
        narrow = max(8, width // 6)
        self.stages = nn.Sequential(
            *_stage(5, narrow, kernel=5, stride=2),
            *_stage(narrow, 2 * narrow),
            nn.MaxPool2d(2),
            *_stage(2 * narrow, 4 * narrow),
            nn.MaxPool2d(2),
            *_stage(4 * narrow, width - 4),
            nn.MaxPool2d(2),
        )
        self.width = width

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the last map [P, D, S/16, S/16]."""
        places = _coordinates(pictures)
        placed = torch.cat([pictures, places], dim=1)  # [P, 5, S, S]
        seen = self.stages(placed.contiguous(memory_format=torch.channels_last))  # [P, D - 4, S/16, S/16]
        places = _coordinates(seen)
        # The cosine tells the middle from both sides, which no weighting of the coordinate itself can.
        return torch.cat([seen, places, torch.cos(torch.pi * places)], dim=1)


def _coordinates(maps: Tensor) -> Tensor:
    """Return two channels like maps [P, C, h, w]: down and right, each from -1 to 1, [P, 2, h, w]."""
    count, _, height, width = maps.shape
    down = torch.linspace(-1, 1, height, dtype=maps.dtype, device=maps.device)
    right = torch.linspace(-1, 1, width, dtype=maps.dtype, device=maps.device)
    return torch.stack(torch.meshgrid(down, right, indexing="ij")).expand(count, -1, -1, -1)
