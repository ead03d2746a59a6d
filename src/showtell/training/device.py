"""Device, precision and threads of a process."""

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
    """A device and the precision of its matrix products; parameters are always float32."""

    device: torch.device
    dtype: torch.dtype

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Return the context for forward passes."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def scaler(self) -> torch.amp.GradScaler:
        """Return the gradient scaler; only float16 gradients underflow without one."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)

    def peak_memory_gb(self) -> float:
        """Return the peak memory so far, in 10^9 bytes: of the GPU, or of the process on the CPU."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e9
        # Kibibytes on Linux, bytes on macOS.
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9

    def __str__(self) -> str:
        """Return device, precision and threads for the log."""
        name = str(self.dtype).removeprefix("torch.")
        return f"{self.device}, {name}, {torch.get_num_threads()} threads"


def resolve_device_config(device: str, precision: str = "auto", threads: int = 0) -> DeviceConfig:
    """Turn ``auto`` into a device and a precision, and set the CPU threads.

    With several processes on a machine, each gets its own GPU, or its part of the cores.

    Raises:
        ConfigError: there is no such device, or several processes name one GPU.
    """
    set_num_threads(threads, processes=int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    if device == "auto" and os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true":
        device = "cpu"
    # Training on mps is untested, so auto does not choose it.
    chosen = choose_device(device, auto=("cuda",))
    rank = local_rank()
    if rank is not None and chosen.type == "cuda":
        if chosen.index is not None:
            raise ConfigError(
                f"the device '{device}' cannot be used",
                found="several processes",
                expected="auto, cpu or cuda",
                mend="Leave the GPU's number out: each process uses its own",
            )
        chosen = choose_device(f"cuda:{rank}")
    return DeviceConfig(chosen, fast_dtype(chosen) if precision == "auto" else PRECISIONS[precision])
