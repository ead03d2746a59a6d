"""Writing safetensors files so that a full disk is told like any other: as an OSError."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write tensors of any device and stride to a safetensors file.

    Raises:
        OSError: the file cannot be written; `showtell.files.atomic_path` and ``atomic_directory`` tell it to users.
    """
    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    try:
        save_file(whole, path, metadata=metadata)
    except SafetensorError as error:
        # The library puts the system's error into its text alone.
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
