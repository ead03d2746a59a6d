"""Dropout whose masks cost little to draw on the CPU: a byte of randomness for each number, not a float."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

LEVELS = 256


class Dropout(nn.Module):
    """Zeros a share of its input while training and scales the rest up (Srivastava et al. 2014, section 4).

    On the CPU the share is rounded to a multiple of 1/256, and the scale fits what was rounded; torch's generator
    gives eight masks with every 64-bit number. Elsewhere it is torch's own dropout.

    Args:
        share: Of zeros, 0 to below 1.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, values: Tensor) -> Tensor:
        """Return values of any shape and float type, some of them zero."""
        if not self.training or self.share == 0.0 or values.device.type != "cpu":
            return functional.dropout(values, self.share, self.training)
        zeros = min(max(1, round(self.share * LEVELS)), LEVELS - 1)
        words = torch.empty((values.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: values.numel()].view(values.shape) >= zeros
        # In the type of the values: a product with truth values is several times as slow, each way.
        return values * kept.to(values.dtype) * (LEVELS / (LEVELS - zeros))

    def extra_repr(self) -> str:
        """Say the share in a printed model."""
        return f"share={self.share}"
