"""What oneDNN, which computes PyTorch's products on a CPU, can do on this processor."""

from __future__ import annotations

import torch


def can_compute(dtype: torch.dtype) -> bool:
    """Return whether oneDNN is there and computes in a dtype; in bfloat16 it needs AVX-512 or what came after."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
