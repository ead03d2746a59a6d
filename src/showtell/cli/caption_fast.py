"""The work of ``showtell caption`` after parsing; without typer, so that a caption without options starts sooner."""

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from showtell.checkpoints.hub import find_checkpoint
from showtell.inference.backend import load_backend

MAX_PROBLEMS = 10


def run(
    checkpoint: Path,
    paths: Sequence[Path],
    *,
    encoder_weights: Path | None = None,
    device: str = "auto",
    threads: int = 0,
    **options: Any,
) -> int:
    """Caption images, and those in folders, into rows; report problems on stderr and return the exit code.

    The options are those of `Captioner.load` and of `showtell.inference.predict.caption_files`.
    """
    _check_order(checkpoint, paths)
    backend = load_backend(
        find_checkpoint(checkpoint), encoder_weights=encoder_weights, device=device, threads=threads
    )
    from showtell.inference.captioner import Captioner
    from showtell.inference.predict import caption_files
    from showtell.inference.writers import escape
    from showtell.system.console import note

    captioner = Captioner(backend)
    gc.freeze()
    gc.enable()
    note(f"{checkpoint}: {captioner.place}")
    report = caption_files(captioner, paths, **options)
    problems = report.problems
    if not problems:
        return 0
    note(f"{report.num_captioned} captioned, {len(problems)} not:")
    for problem in problems[:MAX_PROBLEMS]:
        note(f"  {escape(problem)}")
    if len(problems) > MAX_PROBLEMS:
        note(f"  and {len(problems) - MAX_PROBLEMS} more")
    return 3


def _check_order(checkpoint: Path, paths: Sequence[Path]) -> None:
    """Refuse an image in the captioner's place."""
    if not checkpoint.is_file():
        return
    from showtell.errors import ConfigError

    captioner = next((path for path in paths if path.is_dir()), Path("CAPTIONER"))
    raise ConfigError(
        f"{checkpoint} is not a captioner",
        found="a file",
        mend=f"The captioner goes first: showtell caption {captioner} {checkpoint}",
    )
