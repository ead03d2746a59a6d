"""Writing of safetensors files, with a full disk raised as OSError, and rounding to half floats."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from showtell.errors import CheckpointError


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write tensors of any device and stride to a safetensors file.

    Raises:
        OSError: the file cannot be written; `showtell.system.atomic` converts it to a DataError.
    """
    contiguous = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    try:
        save_file(contiguous, path, metadata=metadata)
    except SafetensorError as error:
        # The library includes the system's error as text only.
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def halve_tensors(tensors: Mapping[str, Tensor], *, what: str) -> dict[str, Tensor]:
    """Return tensors with floating-point ones rounded to float16.

    Args:
        tensors: By name.
        what: What they are, for the error message.

    Raises:
        CheckpointError: a value is not finite or exceeds float16.
    """
    halves = {
        name: value.to(torch.float16) if value.is_floating_point() else value
        for name, value in tensors.items()
    }
    for name, value in halves.items():
        if not bool(value.isfinite().all()):
            raise CheckpointError(
                f"{what} cannot be rounded to half floats",
                found=f"{name}, with numbers that are not finite or too large",
                expected=f"magnitudes up to {torch.finfo(torch.float16).max:.0f}",
                mend="Save it without rounding",
            )
    return halves
