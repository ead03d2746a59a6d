"""Training with several processes, started by ``torchrun`` or ``accelerate launch`` with the same command.

Each process works on its shard of the images; sums and gathered results are the same in all, so all make the same
decisions. Only the main process (rank 0) writes files and messages.
"""

import atexit
import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from showtell.errors import ShowtellError
from showtell.system.console import note, stderr

T = TypeVar("T")

TIMEOUT = timedelta(minutes=30)
"""A process that does not respond for this long hangs. One that ended is noticed at once."""
EXTRACTION_TIMEOUT = timedelta(days=7)
CODE_LOCATION = re.compile(r"^\[[^]]*\] ")


class ProcessError(ShowtellError):
    """Another process of the training failed; its own message has the reason."""


@dataclass(frozen=True)
class DistributedContext:
    """The processes of a training, from the view of one of them."""

    rank: int = 0  # 0 is the main process
    world_size: int = 1

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def shard(self, items: Any) -> Any:
        """Return this process's items of an array or list: every ``world_size``-th from ``rank``."""
        return items[self.rank :: self.world_size]

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Sum tensors of one dtype and device over all processes, in place: the same bits in all."""
        if self.world_size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _needs_other_processes():
            dist.all_reduce(flat)
        totals = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, total in zip(tensors, totals, strict=True):
            tensor.copy_(total.view_as(tensor))

    def gather(self, own: T) -> list[T]:
        """Return the values of all processes, in all of them."""
        if self.world_size == 1:
            return [own]
        gathered: list[Any] = [None] * self.world_size
        with _needs_other_processes():
            dist.all_gather_object(gathered, own)
        return gathered

    def gather_in_order(self, own: list[T]) -> list[T]:
        """Return the results of all shards of a list, in the order of that list."""
        parts = self.gather(own)
        whole: list[Any] = [None] * sum(len(part) for part in parts)
        for rank, part in enumerate(parts):
            whole[rank :: self.world_size] = part
        return whole

    def run_on_rank0(self, function: Callable[[], T]) -> T:
        """Call a function in the main process only and return its result in all.

        If it raises, so do all: the other processes a ProcessError.
        """
        if self.world_size == 1:
            return function()
        message: list[Any] = [None, None]  # result and error
        failure: Exception | None = None
        if self.is_main_process:
            try:
                message[0] = function()
            except Exception as error:
                failure, message[1] = error, str(error)
        with _needs_other_processes():
            dist.broadcast_object_list(message)
        if failure is not None:
            raise failure
        if message[1] is not None:
            raise ProcessError("the main process failed", found=message[1])
        result: T = message[0]
        return result

    def wait_for_all(self) -> None:
        """Wait until all processes are here, which may take hours; a ProcessError if one has ended."""
        if self.world_size > 1:
            group = dist.new_group(backend="gloo", timeout=EXTRACTION_TIMEOUT)
            with _needs_other_processes():
                dist.barrier(group)


SINGLE_PROCESS = DistributedContext()


def is_main_process() -> bool:
    """Return whether this process writes files and messages; valid outside a training too."""
    return int(os.environ.get("RANK", "0")) == 0


def local_rank() -> int | None:
    """Return the number of this process on its machine; None for a single process."""
    return int(os.environ["LOCAL_RANK"]) if _world_size() > 1 else None


def _world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


@contextlib.contextmanager
def distributed_context(device: torch.device) -> Iterator[DistributedContext]:
    """Join the processes of this training; only the main one prints inside the block.

    Raises:
        ProcessError: another process failed, or did not respond.
    """
    if "MASTER_ADDR" in os.environ and "RANK" not in os.environ and "ACCELERATE_USE_CPU" in os.environ:
        note(
            "accelerate launch --cpu starts one process, whatever --num_processes is: --multi_gpu --num_processes 2"
            " starts two, also on a CPU without a GPU"
        )
    world_size = _world_size()
    if world_size == 1:
        yield SINGLE_PROCESS
        return
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        if device.type == "cuda":
            torch.cuda.set_device(device)
        with _needs_other_processes():
            dist.init_process_group(backend, timeout=TIMEOUT)
        atexit.register(dist.destroy_process_group)
    processes = DistributedContext(dist.get_rank(), world_size)
    stderr.quiet = not processes.is_main_process
    try:
        yield processes
    except BaseException as error:
        # An orderly exit would wait for the other processes.
        atexit.unregister(dist.destroy_process_group)
        if not isinstance(error, ProcessError):
            stderr.quiet = False
        raise


@contextlib.contextmanager
def _needs_other_processes() -> Iterator[None]:
    """Report a lost connection as the failure of another process."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise ProcessError(
            "another process of this training has ended or does not respond",
            found=CODE_LOCATION.sub("", str(error).splitlines()[0]).split(". ")[0],
            mend="See its own message; then run the same command again to resume",
        ) from error
