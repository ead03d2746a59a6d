"""Looking at pictures once, or at their mirror images too."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def flip_averaged_features(network: nn.Module, pictures: Tensor, *, flip_average: bool) -> Tensor:
    """Return what a network sees; if asked, the mean with what it sees in the mirror images, turned back.

    A region keeps its place, so that what reads one look reads the mean of two (Simonyan & Zisserman 2015, section
    3.2, average a classifier's predictions over both).

    Args:
        network: Gives maps [P, D, h, w] of pictures.
        pictures: float [P, 3, S, S].
        flip_average: Look at the mirror images too.

    Returns:
        Maps [P, D, h, w], of the network's dtype; float32, and of a mirror image the mirrored map, if flip_average.
    """
    if not flip_average:
        maps: Tensor = network(pictures)
        return maps
    count = pictures.shape[0]
    seen = network(torch.cat([pictures, pictures.flip(3)])).float()  # [2P, D, h, w]
    return torch.stack([seen[:count], seen[count:].flip(3)]).mean(0)
