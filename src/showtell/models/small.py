"""A small convolutional network that is trained from scratch with its decoder, for drawn scenes.

Five 3x3 convolutions with batch norm and ReLU. Two coordinate channels are added to the picture (Liu et al. 2018, "An
intriguing failing of convolutional neural networks and the CoordConv solution"), since place must be told. Group norm
in place of batch norm would make a batch equal the sum of its parts, but learned three times slower.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from showtell.images import Preprocessing

NARROWEST = 16


def _stage(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]


class SmallNetwork(nn.Module):
    """Normalised pictures float [P, 3, S, S] to a map [P, D, S/8, S/8].

    Args:
        width: Channels D of the map, a multiple of 8.
    """

    preprocessing: ClassVar[Preprocessing] = Preprocessing(size=96, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

    def __init__(self, width: int):
        super().__init__()
        # Narrow where the map is large: half the time of starting at width / 4, and it learns as much.
        eighth, quarter, half = (max(NARROWEST, width // share) for share in (8, 4, 2))
        self.stages = nn.Sequential(
            *_stage(5, eighth, 2),
            *_stage(eighth, quarter, 2),
            *_stage(quarter, half, 1),
            *_stage(half, width, 2),
            *_stage(width, width, 1),
        )
        self.width = width

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the last map [P, D, S/8, S/8]."""
        count, _, height, width = pictures.shape
        down = torch.linspace(-1, 1, height, dtype=pictures.dtype, device=pictures.device)
        right = torch.linspace(-1, 1, width, dtype=pictures.dtype, device=pictures.device)
        places = torch.stack(torch.meshgrid(down, right, indexing="ij"))  # [2, S, S]
        placed = torch.cat([pictures, places.expand(count, -1, -1, -1)], dim=1)  # [P, 5, S, S]
        return self.stages(placed.contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]
