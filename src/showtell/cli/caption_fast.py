"""The work of ``showtell caption`` after parsing; without typer, so that a caption without options starts sooner."""

import gc
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from showtell.checkpoints.hub import find_checkpoint
from showtell.inference.backend import load_backend

if TYPE_CHECKING:
    from showtell.bulk.engine import Engine
    from showtell.bulk.report import CaptioningReport


def run(
    checkpoint: Path,
    sources: Sequence[str],
    *,
    ensemble_with: Sequence[Path] = (),
    encoder_weights: Path | None = None,
    device: str = "auto",
    threads: int = 0,
    engine: str = "local",
    workers: int | None = None,
    dry_run: bool = False,
    **options: Any,
) -> int:
    """Caption images, and those in folders, into rows; report problems on stderr and return the exit code.

    A dry run prints what would be captioned, and loads no captioner. The options are those of `Captioner.load`,
    `showtell.bulk.engine.open_engine` and `showtell.bulk.caption_files.caption_files`.
    """
    _check_order(checkpoint, sources)
    if dry_run:
        from showtell.bulk.dry_run import print_plan
        from showtell.bulk.sidecars import sidecar_suffix
        from showtell.bulk.sources.file_list import read_file_list
        from showtell.bulk.sources.listing import list_units

        listing = list_units(
            sources,
            recursive=options["recursive"],
            listed=read_file_list(options["file_list"]).paths if options["file_list"] else (),
            image_column=options["image_column"],
            sidecar_suffix=sidecar_suffix(options["output"]),
        )
        return _exit_code(print_plan(listing, options["output"]), "could be captioned")
    directory = find_checkpoint(checkpoint)
    where: dict[str, Any] = {"device": device, "threads": threads, "encoder_weights": encoder_weights}
    if ensemble_with:
        where["ensemble_with"] = [find_checkpoint(other) for other in ensemble_with]
    is_here = engine == "local" and workers is None and "," not in device
    backend = load_backend(directory, **where) if is_here else None
    from showtell.bulk.caption_files import caption_files
    from showtell.inference.captioner import Captioner
    from showtell.system.console import note

    def elsewhere(engine: str, workers: int | None) -> "Engine":
        from showtell.bulk.engine import open_engine

        return open_engine(directory, engine=engine, workers=workers, **where)

    captioner = elsewhere(engine, workers) if backend is None else Captioner(backend)
    gc.freeze()
    gc.enable()
    note(f"{checkpoint}: {captioner.place}")
    return _exit_code(
        caption_files(captioner, sources, in_child=lambda: elsewhere("local", 1), **options), "captioned"
    )


def _exit_code(report: "CaptioningReport", done: str) -> int:
    """Report the problems of a call and return its exit code."""
    from showtell.bulk.report import MAX_PROBLEMS
    from showtell.bulk.writers import escape
    from showtell.system.console import note

    if not report.kinds:
        return 0
    note(f"{report.num_captioned:,} {done}, {report.num_failed:,} not:")
    for problem in report.problems:
        note(f"  {escape(problem)}")
    if (hidden := report.kinds.total() - len(report.problems)) > 0:
        note(f"  and {hidden:,} more")
        for kind, count in report.kinds.most_common(MAX_PROBLEMS):
            note(f"  {count:,} of one kind: {escape(kind)}")
    return 3


def _check_order(checkpoint: Path, sources: Sequence[str]) -> None:
    """Refuse an image in the captioner's place."""
    if not checkpoint.is_file():
        return
    from showtell.errors import ConfigError

    captioner = next(filter(os.path.isdir, sources), "CAPTIONER")
    raise ConfigError(
        f"{checkpoint} is not a captioner",
        found="a file",
        mend=f"The captioner goes first: showtell caption {captioner} {checkpoint}",
    )
