"""What an encoder saw: the memory that every hypothesis about a picture shares."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Features:
    """The memory of P pictures, held once per picture and never copied per sentence.

    Attributes:
        regions: What was seen where, float [P, R, D].
        pooled: What was seen altogether, float [P, D].
        mask: Which regions are real, bool [P, R], True = real.
    """

    regions: Tensor
    pooled: Tensor
    mask: Tensor

    def to(self, device: torch.device) -> Features:
        """Return the same features on a device."""
        return Features(self.regions.to(device), self.pooled.to(device), self.mask.to(device))

    def widened(self) -> Features:
        """Return half floats, as caches keep them, in float32, and others as they are."""
        regions, pooled = (
            part.float() if part.dtype == torch.float16 else part for part in (self.regions, self.pooled)
        )
        return Features(regions, pooled, self.mask)

    def __getitem__(self, pictures: slice) -> Features:
        """Return the features of some of the pictures."""
        return Features(self.regions[pictures], self.pooled[pictures], self.mask[pictures])
