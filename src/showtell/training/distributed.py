"""Several processes that train as one, started by ``torchrun`` or ``accelerate launch`` with the same command.

Every process takes its share of the pictures, and what each found is added up or put together, so that all of them
know the same and decide the same. The first one, the main process, is the only one that writes or says anything.
"""

from __future__ import annotations

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

ANSWER_LIMIT = timedelta(minutes=30)
"""A process that does not answer for so long has hung. One that ended is noticed at once."""

PLACE_IN_CODE = re.compile(r"^\[[^]]*\] ")

EXTRACTION_LIMIT = timedelta(days=7)


class ProcessError(ShowtellError):
    """Another of the processes that train together failed; its own message tells why."""


@dataclass(frozen=True)
class DistributedContext:
    """The processes of a training, seen from one of them.

    Attributes:
        rank: Which one this is; 0 is the main process.
        count: How many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_main_process(self) -> bool:
        """Whether this one writes and speaks."""
        return self.rank == 0

    def share(self, rows: Any) -> Any:
        """Return every so-many-th of an array's or a list's items: this process's part of the work."""
        return rows[self.rank :: self.count]

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Put into tensors of one type and device, in place, their sums over all processes: the same bits in all."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _others_needed():
            dist.all_reduce(flat)
        for tensor, total in zip(
            tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True
        ):
            tensor.copy_(total.view_as(tensor))

    def gather(self, mine: T) -> list[T]:
        """Return what each process holds, in all of them."""
        if self.count == 1:
            return [mine]
        found: list[Any] = [None] * self.count
        with _others_needed():
            dist.all_gather_object(found, mine)
        return found

    def gather_in_order(self, mine: list[T]) -> list[T]:
        """Return what all processes made of their `share` of a list, in the order of that list."""
        parts = self.gather(mine)
        whole: list[Any] = [None] * sum(len(part) for part in parts)
        for rank, part in enumerate(parts):
            whole[rank :: self.count] = part
        return whole

    def broadcast_from_rank0(self, function: Callable[[], T]) -> T:
        """Call a function in the main process alone, and return in all what it returned.

        Raises:
            ProcessError: in the others, where it raised in the main one.
        """
        if self.count == 1:
            return function()
        told: list[Any] = [None, None]
        failure: Exception | None = None
        if self.is_main_process:
            try:
                told[0] = function()
            except Exception as error:
                failure, told[1] = error, str(error)
        with _others_needed():
            dist.broadcast_object_list(told)
        if failure is not None:
            raise failure
        if told[1] is not None:
            raise ProcessError("the main process failed", found=told[1])
        result: T = told[0]
        return result

    @contextlib.contextmanager
    def main_process_first(self) -> Iterator[None]:
        """Let the main process go through the block before the others: they find done what it did.

        What takes hours may stand here: the others wait as long as it is alive.
        """
        if self.count == 1:
            yield
            return
        group = dist.new_group(backend="gloo", timeout=EXTRACTION_LIMIT)
        if not self.is_main_process:
            with _others_needed():
                dist.barrier(group)
        yield
        if self.is_main_process:
            with _others_needed():
                dist.barrier(group)
        # On machines without a disk in common the others have done it too, each for its own machine.
        with _others_needed():
            dist.barrier(group)


def is_main_process() -> bool:
    """Return whether this process is the one that writes and speaks; before and after a training too."""
    return int(os.environ.get("RANK", "0")) == 0


def local_rank() -> int | None:
    """Return which of this machine's processes this is; None where one process trains alone."""
    return int(os.environ["LOCAL_RANK"]) if _count() > 1 else None


def _count() -> int:
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


@contextlib.contextmanager
def distributed_context(device: torch.device) -> Iterator[DistributedContext]:
    """Join the processes that were started with this one, and keep all but the main one silent inside.

    Raises:
        ProcessError: another process failed, or did not answer.
    """
    if "MASTER_ADDR" in os.environ and "RANK" not in os.environ and "ACCELERATE_USE_CPU" in os.environ:
        note(
            "accelerate launch --cpu starts one process however many are asked for: with --multi_gpu --num_processes"
            " 2 it starts two, on the CPU too where there is no graphics card"
        )
    count = _count()
    if count == 1:
        yield DistributedContext()
        return
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        if device.type == "cuda":
            torch.cuda.set_device(device)
        with _others_needed():
            dist.init_process_group(backend, timeout=ANSWER_LIMIT)
        atexit.register(dist.destroy_process_group)
    processes = DistributedContext(dist.get_rank(), count)
    stderr.quiet = not processes.is_main_process
    try:
        yield processes
    except BaseException as error:
        # Leaving in order would mean waiting for the others.
        atexit.unregister(dist.destroy_process_group)
        if not isinstance(error, ProcessError):
            stderr.quiet = False
        raise


@contextlib.contextmanager
def _others_needed() -> Iterator[None]:
    """Tell a lost connection as what it is."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise ProcessError(
            "another process of this training has ended or does not answer",
            found=PLACE_IN_CODE.sub("", str(error).splitlines()[0]).split(". ")[0],
            mend="Its own message tells why; then run the same command again to go on",
        ) from error
