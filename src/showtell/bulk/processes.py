"""Opens the engine that captions in other processes."""

from functools import partial
from pathlib import Path

from showtell.bulk.engine import Engine
from showtell.bulk.workers import Workers
from showtell.errors import ConfigError
from showtell.inference.backend import read_facts
from showtell.inference.captioner import Captioner
from showtell.system.cpu import place_of_process


def open_engine(
    path: Path,
    *,
    workers: int | None = None,
    device: str = "auto",
    threads: int = 0,
    encoder_weights: Path | None = None,
) -> Engine:
    """Return an engine of processes for a checkpoint or an export, which none loads yet.

    Args:
        path: The directory of the captioner.
        workers: Processes; None: one for each of several devices.
        device: As for `Captioner.load`, or several: ``cuda:0,cuda:1``.
        threads: CPU threads of all processes; 0: all cores.
        encoder_weights: As for `Captioner.load`.

    Raises:
        ConfigError: less than one worker.
        CheckpointError: not a captioner.
    """
    if workers is not None and workers < 1:
        raise ConfigError("--workers is out of range", found=str(workers), expected="1 or more")
    facts, options = read_facts(path)
    load = partial(
        Captioner.load, path.resolve(), encoder_weights=encoder_weights and encoder_weights.resolve()
    )
    count = workers or len(device.split(","))
    places = [place_of_process(number, count, device=device, threads=threads) for number in range(count)]
    return Workers([partial(load, device=place, threads=each) for place, each in places], facts, options)
