"""Which device, precision and threads a process uses: resolved once, told once."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from dataclasses import dataclass

import torch

from showtell.encoders.encoder import fast_dtype
from showtell.errors import ConfigError
from showtell.system.device import choose_device, set_num_threads
from showtell.training.distributed import local_rank

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class DeviceConfig:
    """A device and the precision of its matrix products; parameters stay float32."""

    device: torch.device
    dtype: torch.dtype

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Return the context in which networks run."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def scaler(self) -> torch.amp.GradScaler:
        """Return the gradient scaler: float16 gradients underflow without one, others need none."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)

    def peak_memory_gb(self) -> float:
        """Return the most memory used so far, in 10^9 bytes: the graphics card's, on the CPU the process's."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e9
        # Kibibytes on Linux, bytes on macOS.
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9

    def __str__(self) -> str:
        """Say what is used."""
        name = str(self.dtype).removeprefix("torch.")
        return f"{self.device}, {name}, {torch.get_num_threads()} threads"


def resolve_device_config(device: str, precision: str, threads: int) -> DeviceConfig:
    """Turn ``auto`` into a device and a precision, and set the CPU threads.

    Of several processes on a machine each gets a graphics card, or a part of the cores, of its own.

    Raises:
        ConfigError: no such device here, or one card for several processes.
    """
    set_num_threads(threads, processes=int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    if device == "auto" and os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true":
        device = "cpu"
    # Nothing has been trained on mps yet, so that auto does not mean it here.
    place = choose_device(device, auto=("cuda",))
    rank = local_rank()
    if rank is not None and place.type == "cuda":
        if place.index is not None:
            raise ConfigError(
                f"the device '{device}' cannot be used",
                found="several processes",
                expected="auto, cpu or cuda",
                mend="Leave the card's number out: each process takes one of its own",
            )
        place = choose_device(f"cuda:{rank}")
    return DeviceConfig(place, fast_dtype(place) if precision == "auto" else PRECISIONS[precision])
