"""Dropout with masks that are cheap to draw on the CPU: one random byte per element, not a float."""

import torch
from torch import Tensor, nn
from torch.nn import functional

LEVELS = 256


class Dropout(nn.Module):
    """Zero elements at random while training and scale up the rest (Srivastava et al. 2014, section 4).

    On the CPU the probability is rounded to a multiple of 1/256, and the scale fits the rounded one; each 64-bit
    random number gives eight masks. Elsewhere it is torch's dropout. The probability p of zeros is 0 to below 1.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, values: Tensor) -> Tensor:
        """Apply to values of any shape and float dtype."""
        if not self.training or self.p == 0.0 or values.device.type != "cpu":
            return functional.dropout(values, self.p, self.training)
        zeros = min(max(1, round(self.p * LEVELS)), LEVELS - 1)
        random = torch.empty((values.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        mask = random.view(torch.uint8)[: values.numel()].view(values.shape) >= zeros
        # Cast first: a product with a bool tensor is several times as slow, forward and backward.
        return values * mask.to(values.dtype) * (LEVELS / (LEVELS - zeros))

    def extra_repr(self) -> str:
        """Show the probability in a printed model."""
        return f"p={self.p}"
