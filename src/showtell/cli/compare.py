"""``showtell compare``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from showtell.cli import common_options as common

WORSE = 4
"""Exit code where B is worse than --fail-below allows."""


def command(
    first: Annotated[
        Path,
        typer.Argument(metavar="A", help="A checkpoint, run, OWNER/NAME on the hub, or file of captions."),
    ],
    second: Annotated[Path, typer.Argument(metavar="B", help="The other one; differences are B less A.")],
    data: common.PreparedData,
    split: common.Split = "dev",
    fail_below: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            help="Exit with 4 if the whole 95 % interval of the difference of CIDEr-D is below this: 0 if B is "
            "significantly worse, -0.5 if it surely loses more than half a point.",
        ),
    ] = None,
    changes: Annotated[
        Path | None,
        typer.Option(help="Write all changed captions with their scores to this file, as JSON lines."),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Also write an HTML page with the images of the largest gains and losses."),
    ] = None,
    num_images: Annotated[
        int,
        typer.Option(min=0, help="Number of gains and of losses that are shown, as text and on the page."),
    ] = 10,
    output_format: common.OutputFormat = "table",
    meteor: common.WithMeteor = False,
    evaluations: common.Evaluations = None,
    encoder_weights: common.EncoderWeights = None,
    features: common.Features = None,
    device: common.Device = "auto",
    threads: common.Threads = 0,
) -> None:
    """List which captions of a split change from one captioner to another, for better or worse."""
    from showtell.experiments import compare_output as output
    from showtell.experiments.compare import compare_captioners
    from showtell.system.console import note, show

    with common.open_meteor(meteor) as program:
        result = compare_captioners(
            first,
            second,
            data=data,
            split=split,
            meteor=program,
            evaluations=evaluations,
            encoder_weights=encoder_weights,
            features=features,
            device=device,
            threads=threads,
        )
    for name, scores in zip(result.names, result.scores, strict=True):
        for text in scores.notes:
            note(f"note on {name}: {text}")
    if output_format == "json":
        show(json.dumps(output.to_json(result), indent=2))
    else:
        show(output.to_text(result, most=num_images))
    if changes is not None:
        note(f"changed captions: {output.write_changes(result, changes)}")
    if html is not None:
        title = f"{data.resolve().name}, {split}"
        note(f"page: {output.write_compare_page(result, html, title=title, most=num_images)}")
    if fail_below is not None and result.is_below(fail_below):
        note(f"{result.names[1]} is worse than --fail-below {fail_below:g} allows")
        raise typer.Exit(WORSE)
