"""``showtell export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from showtell.cli.common_options import EncoderWeights

if TYPE_CHECKING:
    from showtell.export.onnx import Exported

SHOWN = 5


def command(
    checkpoint: Annotated[
        Path, typer.Argument(help="A checkpoint, a run (its best/ is taken), or OWNER/NAME on the hub.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The directory to write: new, empty, or an export to replace.")
    ],
    form: Annotated[str, typer.Option("--format", help="onnx.")] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="The encoder in 8 bits; needs --calibrate.")] = False,
    calibrate: Annotated[
        list[Path] | None,
        typer.Option(
            help="--int8: pictures like those it shall see; a folder or a prepared set. Repeatable."
        ),
    ] = None,
    calibration_pictures: Annotated[int, typer.Option(help="--int8: how many of them are looked at.")] = 128,
    pictures: Annotated[
        list[Path] | None,
        typer.Option(help="Compare on these: pictures or folders. Repeatable. Default: scenes drawn here."),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Compare on a prepared set.")] = None,
    split: Annotated[str, typer.Option(help="--data: the split to take them from.")] = "dev",
    compared: Annotated[int, typer.Option("--compare", help="How many pictures to compare on.")] = 32,
    encoder_weights: EncoderWeights = None,
) -> None:
    """Write a captioner that runs without torch, and compare it with torch word for word."""
    from showtell.checkpoints.hub import find_checkpoint
    from showtell.errors import ConfigError

    if form != "onnx":
        raise ConfigError(f"--format {form} cannot be used", expected="onnx")
    if int8 != bool(calibrate):
        raise ConfigError(
            "--int8 and --calibrate go together",
            found="--int8 alone" if int8 else "--calibrate alone",
            mend="Name pictures like those it shall see: --int8 --calibrate FOLDER",
        )
    from showtell.export.onnx import Calibration, export_checkpoint

    exported = export_checkpoint(
        find_checkpoint(checkpoint),
        out,
        calibration=Calibration(calibrate, calibration_pictures) if calibrate else None,
        pictures=[*(pictures or []), *([data] if data else [])],
        split=split,
        compared=compared,
        encoder_weights=encoder_weights,
    )
    for line in _tell(exported):
        typer.echo(line)


def _tell(exported: Exported) -> list[str]:
    comparison, config = exported.comparison, exported.config
    agreement = comparison.agreement
    what = "scenes drawn here (name photographs with --pictures or --data)" if agreement.drawn else "pictures"
    lines = [
        f"{exported.directory}: encoder {config.encoder.name} {config.encoder.precision}, "
        f"decoder {config.decoder.name} {config.decoder.precision}, "
        f"{sum(exported.sizes.values()) / 1e6:.1f} MB",
        f"compared with torch (float32) on {agreement.pictures} {what}",
        f"same captions: greedy {agreement.greedy:.1%}, beam {agreement.beam_size} {agreement.beam:.1%}",
        f"largest difference: logits {agreement.logits:.2g}, features {agreement.features:.2g}",
    ]
    if comparison.ties:
        lines.append(f"{comparison.ties} captions differ where two words are as likely")
    if comparison.differences:
        lines += [f"  {line}" for line in comparison.differences[:SHOWN]]
        if len(comparison.differences) > SHOWN:
            lines.append(f"  and {len(comparison.differences) - SHOWN} more")
    return lines
