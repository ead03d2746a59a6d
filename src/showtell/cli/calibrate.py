"""``showtell calibrate``."""

from pathlib import Path
from typing import Annotated

import typer

from showtell.cli import common_options as common


def command(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="A checkpoint, or a run (its best/): its configuration and card are changed."),
    ],
    data: common.PreparedData,
    split: Annotated[str, typer.Option(help="A split that the captioner was not trained on.")] = "dev",
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATA:SPLIT",
            help="More images to fit on, unlike those of training, so that captions of such get less. Repeatable.",
        ),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(metavar="DATA:SPLIT", help="Images to measure on, which are not fitted. Repeatable."),
    ] = None,
    chart: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Write the reliability diagram to this file.")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write/--no-write", help="Whether to store the calibration.")
    ] = True,
    encoder_weights: common.EncoderWeights = None,
    features: common.Features = None,
    device: common.Device = "auto",
    threads: common.Threads = 0,
) -> None:
    """Fit probabilities to a captioner: that a caption is right, and each of its words. Prints how well they fit.

    A word is right if a reference has it, a caption if at least half of its words with meaning are right. Each half
    of the images is measured by a calibration of the other half; the captioner gets that of all images.
    """
    from showtell.report.confidence import confidence_report, reliability_chart
    from showtell.system.atomic import write_text
    from showtell.system.console import show
    from showtell.training.calibrate import ImageSet, calibrate

    def image_set(name: str) -> ImageSet:
        path, _, part = name.partition(":")
        return ImageSet(Path(path), part or split)

    measured = calibrate(
        checkpoint,
        data=ImageSet(data, split),
        also=[image_set(name) for name in also or ()],
        test=[image_set(name) for name in test or ()],
        write=write,
        encoder_weights=encoder_weights,
        features=features,
        device=device,
        threads=threads,
    )
    show(confidence_report(measured))
    if chart is not None:
        write_text(chart, reliability_chart([each.figures for each in measured]).svg(standalone=True))
