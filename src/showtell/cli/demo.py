"""``showtell demo``: prepare, train, evaluate and caption on drawn scenes."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from showtell.demo.run import PHOTO_COLUMNS, run_demo, show_caption


def command(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for scenes, run and report.")] = Path(
        "demo"
    ),
    seed: Annotated[int, typer.Option(help="Seed of the scenes and of the training.")] = 0,
    captioner: Annotated[
        Path | None, typer.Option(help="End with photographs, captioned by this captioner; with --images.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="A folder of JPEGs for --captioner; their comments are shown as credits."),
    ] = None,
) -> None:
    """Draw scenes, train a small captioner on them, evaluate it on unseen compositions, write a report."""
    from showtell.system.console import show

    result = run_demo(out, seed=seed, captioner=captioner, images=images)
    show(f"\n{result.headline}")
    show(f"Every object named as well: {100 * result.complete / result.num_images:.1f} %.")
    show(result.pointing)
    show(f"Training and scoring took {result.seconds:.0f} seconds.")
    if result.photos:
        from rich.text import Text

        show(f"\nReal photographs, captioned by {captioner}:\n")
        for photo in result.photos:
            show_caption(photo.path, photo.caption, Text(photo.credit, "dim"), columns=PHOTO_COLUMNS)
    show(f"Report: {result.report.resolve()}")
    show(f"Try it in the browser: showtell serve {shlex.quote(str(out / 'run'))}")
