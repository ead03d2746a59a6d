"""Captions units with Ray Data: actors on any number of machines load the captioner once and stream captions back.

Ray replaces an actor that has ended and has its unit captioned again, without end; how often is counted here. What
had been streamed of a unit is not streamed twice.
"""

import contextlib
import logging
import os
import pickle
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

from showtell.bulk.attempts import Attempts, Task, caption_tasks
from showtell.bulk.engine import Event
from showtell.bulk.units import Unit
from showtell.bulk.workers import Load
from showtell.config.generation import DecodingOptions
from showtell.errors import ShowtellError, import_extra, reason

_UNITS = 4096
"""Units of one execution of Ray Data, which holds them all: a million images of files."""


class RayEngine:
    """Captions in ``workers`` actors of the cluster of ``RAY_ADDRESS``, or of one that runs on this machine alone."""

    def __init__(
        self,
        load: Load,
        facts: Mapping[str, Any],
        options: DecodingOptions,
        *,
        workers: int | None = None,
        device: str = "auto",
        threads: int = 0,
    ) -> None:
        self.facts, self.options, self.place = facts, options, "Ray"
        self._load, self._workers, self._device, self._threads = load, workers, device, threads

    def events(self, work: Iterable[tuple[Unit, int]], **options: Any) -> Generator[Event, None, None]:
        """See `showtell.bulk.engine.Engine`.

        Raises:
            MissingExtraError: Ray is not installed.
            ShowtellError: the cluster fails, or its captioner is not loaded or not used with these options.
        """
        ray = _import_ray()
        units = iter(work)
        with _cluster(ray):
            attempts = ray.remote(num_cpus=0)(Attempts).remote()
            arguments, resources = self._places(ray)
            actor = (partial(self._load, **arguments), options, attempts, str(Path.cwd()))
            while tasks := [{"task": pickle.dumps(Task(*task))} for task in islice(units, _UNITS)]:
                data = ray.data.from_items(tasks, override_num_blocks=len(tasks)).map_batches(
                    _Actor, batch_size=1, fn_constructor_args=actor, **resources
                )
                for batch in data.iter_batches(batch_size=None, prefetch_batches=0):
                    for message in map(pickle.loads, batch["message"]):
                        if isinstance(message, ShowtellError):
                            raise message
                        yield from message

    def _places(self, ray: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return device and threads of an actor, and what it requests of Ray."""
        whole = ray.cluster_resources()
        gpus = whole.get("GPU", 0) if self._device == "auto" or self._device.startswith("cuda") else 0
        cores = whole.get("CPU", 1)
        workers = self._workers or int(gpus) or max(1, int(cores // (self._threads or 4)))
        threads = self._threads or max(1, int(cores // workers))
        cores_each = min(threads, cores / workers)
        return {"device": "cuda" if gpus else self._device, "threads": threads}, {
            "concurrency": workers,
            "num_cpus": int(cores_each) or cores_each,
            "num_gpus": min(1, gpus / workers),
        }


class _Actor:
    """Captions a unit per call, into lists of events or an error, pickled.

    When a unit is captioned again, Ray leaves out as many of them as it had before.
    """

    def __init__(self, load: Load, options: dict[str, Any], attempts: Any, folder: str) -> None:
        # Called later: Ray would replace an actor that fails at its start without end.
        self._load, self._options, self._attempts = cache(load), options, attempts
        with contextlib.suppress(OSError):  # names of files are relative to the folder of the command
            os.chdir(folder)

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, list[bytes]]]:
        task: Task = pickle.loads(batch["task"][0])
        task = replace(task, tried=self._ask("begin", task.unit.number))
        for message in caption_tasks(self._load, [task], partial(self._ask, "mark"), **self._options):
            yield {"message": [pickle.dumps(message)]}
        self._ask("forget", task.unit.number)

    def _ask(self, name: str, *arguments: Any) -> Any:
        import ray

        return ray.get(getattr(self._attempts, name).remote(*arguments))


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ray = import_extra("ray", extra="ray")
    import_extra("ray.data", extra="ray")
    return ray


@contextlib.contextmanager
def _cluster(ray: Any) -> Iterator[None]:
    """Connect to a cluster, or start one; quietly."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.target_max_block_size = 1  # each list of events is sent at once, not with those that follow
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # Ray prints what became of its processes to standard output.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
            yield
        except ray.exceptions.RayError as error:
            raise ShowtellError(
                "the Ray cluster failed", found=reason(error), mend="The same command resumes"
            ) from error
        finally:
            ray.shutdown()
