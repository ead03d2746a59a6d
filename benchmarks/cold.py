"""How long a command takes that starts from nothing."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

from benchmarks.harness import ROOT, Row, Setting, compare, skipped, take_turns
from benchmarks.int8 import EXPORT, exported
from benchmarks.material import SMALL, jpeg_files, random_checkpoint

SHOWTELL = (sys.executable, "-m", "showtell")


def measure(setting: Setting) -> Iterator[Row]:
    """Yield the first caption with torch and with ONNX Runtime, and the help."""
    checkpoint = setting.captioner or random_checkpoint(setting.folder)
    image = str(jpeg_files(setting, SMALL, 1)[0])
    weights = ["--encoder-weights", str(setting.encoder_weights)] if setting.encoder_weights else []
    rounds = setting.rounds(3)
    timings = take_turns(
        {
            "first caption": partial(_run, *SHOWTELL, "caption", str(checkpoint), image, *weights),
            "import torch": partial(_run, sys.executable, "-c", "import torch"),
            "help": partial(_run, *SHOWTELL, "--help"),
        },
        rounds,
    )
    yield compare(
        "first caption of a cold command, torch",
        "import torch",
        timings,
        ours="first caption",
        theirs="import torch",
        target=2.5,
        at_most=True,
    )
    work, against = "first caption of a cold command, ONNX", "import onnxruntime"
    if importlib.util.find_spec("onnxruntime") is None:
        yield skipped(work, against, 2.0, EXPORT, at_most=True)
    else:
        export = exported(setting, int8=False)
        both = take_turns(
            {
                "first caption": partial(_run, *SHOWTELL, "caption", str(export), image),
                "import onnxruntime": partial(_run, sys.executable, "-c", "import onnxruntime"),
            },
            rounds,
        )
        yield compare(
            work,
            against,
            both,
            ours="first caption",
            theirs="import onnxruntime",
            target=2.0,
            at_most=True,
        )
    seconds = timings["help"].median
    yield Row(
        "showtell --help",
        "–",
        seconds,
        0.4,
        unit="s",
        at_most=True,
        measured=f"{seconds / timings['import torch'].median:.2f} of the time that importing torch takes",
        details={"seconds": list(timings["help"].rounds)},
    )


def _run(*command: str) -> None:
    """Run a command to its end.

    Raises:
        RuntimeError: it failed; the message has its output.
    """
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
