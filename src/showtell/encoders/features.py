"""What an encoder saw: the memory that every hypothesis about a picture shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

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

    def float(self) -> Features:
        """Return half floats, as caches keep them, in float32, and others as they are."""
        regions, pooled = (
            part.float() if part.dtype == torch.float16 else part for part in (self.regions, self.pooled)
        )
        return Features(regions, pooled, self.mask)

    def __getitem__(self, pictures: slice) -> Features:
        """Return the features of some of the pictures."""
        return Features(self.regions[pictures], self.pooled[pictures], self.mask[pictures])


@dataclass(frozen=True)
class WindowedFeatures:
    """Fine maps of P pictures, and which window of each is read as a coarser grid: the memory of views to train on.

    Attributes:
        maps: What was seen where, float [P, h, w, D].
        rows: How much each of a map's h rows counts for each of the grid's G, float32 [P, G, h]; sums to one.
        columns: The same of its w columns, float32 [P, G, w].
    """

    maps: Tensor
    rows: Tensor
    columns: Tensor

    def to(self, device: torch.device) -> WindowedFeatures:
        """Return the same maps on a device."""
        return WindowedFeatures(self.maps.to(device), self.rows.to(device), self.columns.to(device))

    def float(self) -> Features:
        """Return the windows' features, float32 [P, G * G, D], and the mean of their regions."""
        pictures, height, width, channels = self.maps.shape
        with torch.autocast(self.maps.device.type, enabled=False):
            lines = self.rows @ self.maps.float().view(pictures, height, width * channels)  # [P, G, w * D]
            lines = lines.view(pictures, -1, width, channels)
            regions = (self.columns.unsqueeze(1) @ lines).flatten(1, 2)  # [P, G * G, D]
        mask = torch.ones(regions.shape[:2], dtype=torch.bool, device=regions.device)
        return Features(regions, regions.mean(1), mask)

    def __getitem__(self, pictures: slice) -> WindowedFeatures:
        """Return the windows of some of the pictures."""
        return WindowedFeatures(self.maps[pictures], self.rows[pictures], self.columns[pictures])


EncoderInput: TypeAlias = Features | WindowedFeatures | Tensor
"""What a decoder reads of pictures, what becomes so, or pictures uint8 [P, H, W, 3] that are yet to be seen."""
