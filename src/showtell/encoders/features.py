"""Encoder output, shared by all hypotheses of an image."""

from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor


@dataclass(frozen=True)
class Features:
    """Features of P images, stored once per image and never copied per hypothesis."""

    regions: Tensor  # grid of feature vectors, float [P, R, D]
    pooled: Tensor  # mean over the regions, float [P, D]
    mask: Tensor  # True for real regions, bool [P, R]

    def to(self, device: torch.device) -> "Features":
        """Return the features on a device."""
        return Features(self.regions.to(device), self.pooled.to(device), self.mask.to(device))

    def float(self) -> "Features":
        """Return float16 features, as caches store them, in float32; other dtypes are kept."""
        regions, pooled = (
            part.float() if part.dtype == torch.float16 else part for part in (self.regions, self.pooled)
        )
        return Features(regions, pooled, self.mask)

    def __getitem__(self, images: slice | Tensor) -> "Features":
        """Return the features of some of the images."""
        return Features(self.regions[images], self.pooled[images], self.mask[images])


@dataclass(frozen=True)
class WindowedFeatures:
    """Random windows of P fine feature maps, pooled to a coarser grid: crops in feature space, for augmentation."""

    maps: Tensor  # feature maps, float [P, h, w, D]
    rows: Tensor  # weight of each of a map's h rows in the grid's G rows, float32 [P, G, h]; sums to 1 over h
    columns: Tensor  # the same for its w columns, float32 [P, G, w]

    def to(self, device: torch.device) -> "WindowedFeatures":
        """Return the windows on a device."""
        return WindowedFeatures(self.maps.to(device), self.rows.to(device), self.columns.to(device))

    def float(self) -> Features:
        """Return the windows' features: regions float32 [P, G * G, D] and their mean."""
        batch_size, height, width, channels = self.maps.shape
        with torch.autocast(self.maps.device.type, enabled=False):
            pooled = self.rows @ self.maps.float().view(batch_size, height, width * channels)  # [P, G, w * D]
            pooled = pooled.view(batch_size, -1, width, channels)
            regions = (self.columns.unsqueeze(1) @ pooled).flatten(1, 2)  # [P, G * G, D]
        mask = torch.ones(regions.shape[:2], dtype=torch.bool, device=regions.device)
        return Features(regions, regions.mean(1), mask)

    def __getitem__(self, images: slice) -> "WindowedFeatures":
        """Return the windows of some of the images."""
        return WindowedFeatures(self.maps[images], self.rows[images], self.columns[images])


EncoderInput: TypeAlias = Features | WindowedFeatures | Tensor
"""Features, windows that become features, or images uint8 [P, H, W, 3] that are still to be encoded."""
