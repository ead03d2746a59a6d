"""The abilities of oneDNN, PyTorch's library for products on the CPU, on this processor."""

import torch


def can_compute(dtype: torch.dtype) -> bool:
    """Return whether oneDNN is present and computes in a dtype; bfloat16 needs AVX-512 or newer instructions."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
