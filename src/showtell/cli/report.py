"""``showtell report``."""

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
            help="Predictions of showtell evaluate --predictions to show, with the scores of their split. "
            "Default: the run's own."
        ),
    ] = None,
    num_images: Annotated[int, typer.Option(min=1, help="Maximum number of images on the page.")] = 200,
    summary: Annotated[
        Path | None,
        typer.Option(help="Write a folder of Markdown, charts and a few images here instead of the page."),
    ] = None,
    title: Annotated[str | None, typer.Option(help="The heading. Default: the run's name.")] = None,
    tuning: Annotated[
        Path | None, typer.Option(help="Directory of showtell tune whose table the summary shows.")
    ] = None,
) -> None:
    """Write a run's report again, or summarize it as a folder that can be committed."""
    from showtell.report import write_report, write_summary
    from showtell.system.console import note

    if summary is not None:
        note(f"summary: {write_summary(run, summary, title=title, tuning=tuning)}")
    else:
        page = write_report(run, out=out, predictions=predictions, title=title, num_images=num_images)
        note(f"report: {page}")
