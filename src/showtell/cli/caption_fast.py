"""The work of ``showtell caption`` after parsing; without typer, so that a caption without options starts sooner."""

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from showtell.checkpoints.hub import find_checkpoint
from showtell.inference.backend import load_backend


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

    The options are those of `Captioner.load` and of `showtell.bulk.caption_files.caption_files`.
    """
    _check_order(checkpoint, paths)
    backend = load_backend(
        find_checkpoint(checkpoint), encoder_weights=encoder_weights, device=device, threads=threads
    )
    from showtell.bulk.caption_files import caption_files
    from showtell.bulk.report import MAX_PROBLEMS
    from showtell.bulk.writers import escape
    from showtell.inference.captioner import Captioner
    from showtell.system.console import note

    captioner = Captioner(backend)
    gc.freeze()
    gc.enable()
    note(f"{checkpoint}: {captioner.place}")
    report = caption_files(captioner, paths, **options)
    if not report.kinds:
        return 0
    note(f"{report.num_captioned:,} captioned, {report.num_failed:,} not:")
    for problem in report.problems:
        note(f"  {escape(problem)}")
    if (hidden := report.kinds.total() - len(report.problems)) > 0:
        note(f"  and {hidden:,} more")
        for kind, count in report.kinds.most_common(MAX_PROBLEMS):
            note(f"  {count:,} of one kind: {escape(kind)}")
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
