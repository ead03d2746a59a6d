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
from showtell.system.safetensors_header import read_header, sort_metadata


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write tensors of any device and stride, equal ones as equal bytes.

    If that fails it is an OSError, which `showtell.system.atomic` converts.
    """
    contiguous = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    try:
        save_file(contiguous, path, metadata=metadata)
        if metadata:
            header = sort_metadata(read_header(path))
            with path.open("rb+") as file:
                file.write(header)
    except SafetensorError as error:
        # The library includes the system's error as text only.
        match = re.search(r"\(os error (\d+)\)", str(error))
        if match is None:
            raise
        raise OSError(int(match[1]), os.strerror(int(match[1])), str(path)) from error


def halve_tensors(tensors: Mapping[str, Tensor], *, what: str) -> dict[str, Tensor]:
    """Return tensors with floating-point ones rounded to float16; a CheckpointError about ``what`` if one cannot."""
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
