"""Opens the engine that captions in other processes: of this machine, or of a Ray cluster."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from showtell.bulk.engine import Engine
from showtell.bulk.workers import Workers
from showtell.errors import ConfigError
from showtell.inference.backend import read_facts, with_members
from showtell.inference.captioner import Captioner
from showtell.system.cpu import place_of_process


def open_engine(
    path: Path,
    *,
    engine: str = "local",
    workers: int | None = None,
    device: str = "auto",
    threads: int = 0,
    encoder_weights: Path | None = None,
    ensemble_with: Sequence[Path] = (),
) -> Engine:
    """Return the engine ``local`` or ``ray`` for a checkpoint or an export, which no process loads yet.

    Args:
        path: The directory of the captioner, on every machine of a cluster.
        engine: ``local`` has processes of this machine.
        workers: Processes; None: one for each of several devices, and with Ray as many as fit the cluster.
        device: As for `Captioner.load`, or several: ``cuda:0,cuda:1``.
        threads: CPU threads of all processes of this machine, or with Ray of each; 0: all cores.
        encoder_weights: As for `Captioner.load`.
        ensemble_with: As for `Captioner.load`; directories.

    Raises:
        ConfigError: less than one worker.
        CheckpointError: not a captioner.
    """
    if workers is not None and workers < 1:
        raise ConfigError("--workers is out of range", found=str(workers), expected="1 or more")
    facts, options = read_facts(path)
    facts = dict(with_members(facts, [read_facts(other)[0] for other in ensemble_with]))
    load = partial(
        Captioner.load,
        path.resolve(),
        encoder_weights=encoder_weights and encoder_weights.resolve(),
        ensemble_with=[other.resolve() for other in ensemble_with],
    )
    if engine == "ray":
        from showtell.bulk.ray_engine import RayEngine

        return RayEngine(load, facts, options, workers=workers, device=device, threads=threads)
    count = workers or len(device.split(","))
    places = [place_of_process(number, count, device=device, threads=threads) for number in range(count)]
    return Workers([partial(load, device=place, threads=each) for place, each in places], facts, options)
