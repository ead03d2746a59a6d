"""``showtell pack``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
    license_: Annotated[
        str | None, typer.Option("--license", help="For the model card: mit, cc-by-nc-4.0, other ...")
    ] = None,
    datasets: Annotated[
        list[str] | None,
        typer.Option("--dataset", help="For the model card: its training data on the hub. Repeatable."),
    ] = None,
    notes: Annotated[
        list[str] | None,
        typer.Option("--note", help="For the model card: a limit that only you know. Repeatable."),
    ] = None,
    encoder_weights: Annotated[
        Path | None, typer.Option(help="A local file with the encoder's weights.")
    ] = None,
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
