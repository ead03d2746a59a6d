"""``showtell export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from showtell.cli import common_options as common
from showtell.errors import ConfigError

if TYPE_CHECKING:
    from showtell.export.onnx import Exported


def command(
    checkpoint: Annotated[
        Path, typer.Argument(help="A checkpoint, a run (its best/ is used), or OWNER/NAME on the hub.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="A new or empty directory, or an export, which is replaced.")
    ],
    form: Annotated[str, typer.Option("--format", help="onnx.")] = "onnx",
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantize encoder and decoder to 8 bits; needs --calibrate.")
    ] = False,
    calibrate: Annotated[
        list[Path] | None,
        typer.Option(help="--int8: images like those to caption; a folder or a prepared set. Repeatable."),
    ] = None,
    calibration_images: Annotated[int, typer.Option(help="--int8: the number of images to use.")] = 128,
    images: Annotated[
        list[Path] | None,
        typer.Option(help="Compare on these images or folders. Repeatable. Default: drawn scenes."),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Compare on a prepared set.")] = None,
    split: Annotated[str, typer.Option(help="--data: its split.")] = "dev",
    num_compare: Annotated[int, typer.Option(help="The number of images to compare on.")] = 32,
    encoder_weights: common.EncoderWeights = None,
) -> None:
    """Export a captioner to run without torch, and compare its captions with torch."""
    if form != "onnx":
        raise ConfigError(f"--format {form} cannot be used", expected="onnx")
    if int8 != bool(calibrate):
        raise ConfigError(
            "--int8 and --calibrate go together",
            found="--int8 alone" if int8 else "--calibrate alone",
            mend="Name images like those to caption: --int8 --calibrate FOLDER",
        )
    from showtell.checkpoints.hub import find_checkpoint
    from showtell.export.onnx import Calibration, export_checkpoint
    from showtell.system.console import show

    exported = export_checkpoint(
        find_checkpoint(checkpoint),
        out,
        calibration=Calibration(calibrate, calibration_images) if calibrate else None,
        images=[*(images or []), *([data] if data else [])],
        split=split,
        num_compare=num_compare,
        encoder_weights=encoder_weights,
    )
    show("\n".join(_report(exported)))


def _report(exported: Exported) -> list[str]:
    comparison, config = exported.comparison, exported.config
    parity = comparison.report
    source = "drawn scenes (name photographs with --images or --data)" if parity.synthetic else "images"
    lines = [
        f"{exported.directory}: encoder {config.encoder.name} {config.encoder.precision}, "
        f"decoder {config.decoder.name} {config.decoder.precision}, "
        f"{sum(exported.sizes.values()) / 1e6:.1f} MB",
        f"compared with torch (float32) on {parity.num_images} {source}",
        f"same captions: greedy {parity.greedy:.1%}, beam {parity.beam_size} {parity.beam:.1%}",
        f"largest difference: logits {parity.logits:.2g}, features {parity.features:.2g}",
    ]
    if comparison.ties:
        lines.append(f"{comparison.ties} captions differ where two tokens are equally likely")
    return [*lines, *(f"  {line}" for line in comparison.first_differences())]
