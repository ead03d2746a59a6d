"""What ``showtell caption`` does when its options are read; no typer here, so that it can begin at once."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from showtell.inference.captioner import Captioner

SHOWN = 10


def run(
    checkpoint: Path,
    paths: Sequence[Path],
    *,
    encoder_weights: Path | None = None,
    device: str = "auto",
    threads: int = 0,
    **rest: Any,
) -> int:
    """Caption pictures into rows and tell on stderr what went wrong.

    Args:
        checkpoint: As for `Captioner.load`.
        paths: Pictures, and folders of pictures.
        encoder_weights: As for `Captioner.load`.
        device: As for `Captioner.load`.
        threads: As for `Captioner.load`.
        rest: As for `showtell.inference.predict.caption_files`.

    Returns:
        The exit code.
    """
    captioner = _load(checkpoint, encoder_weights, device, threads)
    from showtell.inference.predict import caption_files
    from showtell.system.console import note

    gc.freeze()
    gc.enable()
    note(f"{checkpoint}: {captioner.place}")
    try:
        outcome = caption_files(captioner, paths, **rest)
    except BrokenPipeError:
        # The reader of the pipe has left (``| head``); Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return _report(outcome.captioned, outcome.problems)


def _load(checkpoint: Path, encoder_weights: Path | None, device: str, threads: int) -> Captioner:
    from showtell.inference.onnx_files import is_export

    if encoder_weights is None and is_export(checkpoint):
        from showtell.inference.onnx_sessions import OnnxSessionLoader

        # Before all other imports, which then take no time of their own.
        opening = OnnxSessionLoader(checkpoint, device=device, threads=threads)
        from showtell.inference.captioner import Captioner
        from showtell.inference.onnx_backend import OnnxBackend

        return Captioner(OnnxBackend.load(checkpoint, opening=opening))
    from showtell.inference.captioner import Captioner

    return Captioner.load(checkpoint, encoder_weights=encoder_weights, device=device, threads=threads)


def _report(captioned: int, problems: list[str]) -> int:
    """Tell on stderr what went wrong; return 3 if anything did."""
    from showtell.inference.writers import escape
    from showtell.system.console import note

    if not problems:
        return 0
    note(f"{captioned} captioned, {len(problems)} not:")
    for problem in problems[:SHOWN]:
        note(f"  {escape(problem)}")
    if len(problems) > SHOWN:
        note(f"  and {len(problems) - SHOWN} more")
    return 3
