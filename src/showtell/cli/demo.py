"""``showtell demo``: prepare, train, evaluate and caption on scenes drawn here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from showtell.demo.run import PHOTOGRAPH_COLUMNS, run_demo, show_caption


def command(
    out: Annotated[Path, typer.Option("-o", "--out", help="Where scenes, run and report go.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Of the scenes and of the training.")] = 0,
    captioner: Annotated[
        Path | None, typer.Option(help="End with photographs, told by this captioner; with --photographs.")
    ] = None,
    photographs: Annotated[
        Path | None,
        typer.Option(help="A folder of JPEGs for --captioner; their comments say whose they are."),
    ] = None,
) -> None:
    """Draw scenes, train a small captioner on them, judge it on compositions it never saw, write a report."""
    result = run_demo(out, seed=seed, captioner=captioner, photographs=photographs)
    typer.echo(f"\n{result.headline}")
    typer.echo(f"Every object named as well: {100 * result.complete / result.pictures:.1f} %.")
    typer.echo(f"Training and scoring took {result.seconds:.0f} seconds.")
    if result.photographs:
        from rich.text import Text

        typer.echo(f"\nReal photographs, told by {captioner}:\n")
        for one in result.photographs:
            show_caption(one.path, one.caption, Text(one.credit, "dim"), columns=PHOTOGRAPH_COLUMNS)
    typer.echo(f"Report: {result.report.resolve()}")
