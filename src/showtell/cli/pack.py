"""``showtell pack``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from showtell.cli.arguments import CardDatasets, CardLicense, EncoderWeights


def command(
    checkpoint: Annotated[
        Path, typer.Argument(help="A checkpoint, a run (its best/ is taken), or OWNER/NAME on the hub.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The directory to write: new, empty, or one packed before.")
    ],
    encoder: Annotated[
        Path | None,
        typer.Option(
            help="A file beside it for the frozen encoder, shared by several captioners; written if need be. "
            "Default: inside the directory."
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="For the model card: the shipped recipe that trains such a captioner."),
    ] = None,
    license_: CardLicense = None,
    datasets: CardDatasets = None,
    notes: Annotated[
        list[str] | None,
        typer.Option("--note", help="For the model card: a limit that only you know. Repeatable."),
    ] = None,
    encoder_weights: EncoderWeights = None,
) -> None:
    """Make a captioner ready to be kept in a repository: half floats, a model card, one encoder for several."""
    from showtell.packing import pack_captioner

    given = {"license": license_, "datasets": datasets, "notes": notes}
    packed = pack_captioner(
        checkpoint,
        out,
        encoder=encoder,
        encoder_weights=encoder_weights,
        recipe=recipe,
        card={name: value for name, value in given.items() if value},
    )
    for name, size in packed.sizes.items():
        typer.echo(f"{packed.directory / name}: {size / 1e6:.2f} MB")
    if packed.encoder is not None:
        typer.echo(f"{packed.encoder}: {packed.encoder.stat().st_size / 1e6:.2f} MB")
