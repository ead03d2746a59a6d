"""A small convolutional network that is trained from scratch with its decoder, for drawn scenes.

Four convolutions with batch norm and max pooling. Coordinate channels (Liu et al. 2018, "An intriguing failing of
convolutional neural networks and the CoordConv solution") give the position: two are added to the image, four to the
map. On drawn scenes, max pooling learned shapes in fewer steps than strided convolutions of the same width.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from showtell.config.preprocessing import Preprocessing


def _stage(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]


class SmallCnn(nn.Module):
    """Normalized images float [P, 3, S, S] to a map [P, D, S/16, S/16] with four coordinate channels.

    Its ``width`` D is a multiple of 8.
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

    def forward(self, images: Tensor) -> Tensor:
        """Return the last map [P, D, S/16, S/16]."""
        inputs = torch.cat([images, _coordinates(images)], dim=1)  # [P, 5, S, S]
        maps = self.stages(inputs.contiguous(memory_format=torch.channels_last))  # [P, D - 4, S/16, S/16]
        position = _coordinates(maps)
        # The cosine separates the middle from both sides; no linear function of the coordinate can.
        return torch.cat([maps, position, torch.cos(torch.pi * position)], dim=1)


def _coordinates(maps: Tensor) -> Tensor:
    """Return y and x from -1 to 1 as two channels [P, 2, h, w] for maps [P, C, h, w]."""
    batch_size, _, height, width = maps.shape
    y = torch.linspace(-1, 1, height, dtype=maps.dtype, device=maps.device)
    x = torch.linspace(-1, 1, width, dtype=maps.dtype, device=maps.device)
    return torch.stack(torch.meshgrid(y, x, indexing="ij")).expand(batch_size, -1, -1, -1)
