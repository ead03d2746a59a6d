"""Training and captioning beside processes that keep all cores busy: how much of their fair share they get."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Row, Setting, apart, seconds_of
from showtell.system.cpu import usable_cores

WORKS = {"train flickr8k-attention": "learn", "caption images of 640×480": "caption"}


def measure(setting: Setting) -> Iterator[Row]:
    """Yield for each work the speed beside one busy process a core, of half the speed alone: its fair share."""
    for work, function in WORKS.items():
        rounds = []
        for _ in range(setting.rounds(3)):
            alone = _seconds(function, setting)
            with _busy(usable_cores()):
                beside = _seconds(function, setting)
            rounds.append((alone, beside))
        fraction = statistics.median(2 * alone / beside for alone, beside in rounds)
        alone, beside = (statistics.median(each) for each in zip(*rounds, strict=True))
        yield Row(
            f"{work} beside {usable_cores()} busy processes",
            "its fair share, half of the speed alone",
            fraction,
            0.7,
            "%",
            measured=f"{beside:.2f} s against {alone:.2f} s alone",
            details={"rounds": rounds},
        )


def learn(folder: str, quick: bool) -> dict[str, float]:
    """Return the seconds of some steps of training, in a process of its own."""
    from benchmarks.training import ATTENTION, KeptFeatures, Ours, made_up_captions
    from showtell.config.recipe import load_recipe

    with tempfile.TemporaryDirectory(dir=folder) as place:
        prepared = made_up_captions(Path(place))
        ours = Ours(load_recipe(ATTENTION), prepared, KeptFeatures(len(prepared)))
        ours.learn(1)
        return {"seconds": seconds_of(lambda: ours.learn(2 if quick else 10))}


def caption(folder: str, quick: bool) -> dict[str, float]:
    """Return the seconds of some captions, in a process of its own."""
    from benchmarks.encoders import BATCH
    from benchmarks.material import SMALL, jpeg_files, open_subject

    with tempfile.TemporaryDirectory(dir=folder) as place:
        setting = Setting(Path(place), quick=quick)
        subject, paths = open_subject(setting), jpeg_files(setting, SMALL, 32 if quick else 64)

        def work() -> None:
            for each in subject.captioner.stream(paths, batch_size=BATCH, **subject.decoding):
                if each.error is not None:
                    raise RuntimeError(each.error)

        work()
        return {"seconds": seconds_of(work)}


def _seconds(function: str, setting: Setting) -> float:
    answer = apart(f"benchmarks.beside:{function}", folder=str(setting.folder), quick=setting.quick)
    return float(answer["seconds"])


@contextlib.contextmanager
def _busy(count: int) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
