"""``showtell report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="A run's directory.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The page. Default: report.html in the run.")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Predictions to show, from showtell evaluate --predictions. Default: the run's own."
        ),
    ] = None,
    pictures: Annotated[int, typer.Option(min=1, help="Most pictures on the page.")] = 200,
    summary: Annotated[
        Path | None,
        typer.Option(
            help="Write a folder of Markdown, charts and a few pictures here, in place of the page."
        ),
    ] = None,
    title: Annotated[str | None, typer.Option(help="The heading. Default: the run's name.")] = None,
    tuning: Annotated[
        Path | None, typer.Option(help="A tuning whose table the summary shows (directory of showtell tune).")
    ] = None,
) -> None:
    """Write a run's report again, or sum it up as a folder that can be committed."""
    from showtell.report import write_report, write_summary
    from showtell.system.console import note

    if summary is not None:
        note(f"summary: {write_summary(run, summary, title=title, tuning=tuning)}")
    else:
        note(f"report: {write_report(run, out=out, predictions=predictions, title=title, pictures=pictures)}")
