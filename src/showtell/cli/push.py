"""``showtell push``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from showtell.cli.common_options import CardDatasets, CardLicense, EncoderWeights


def command(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint, or a run (its best/ is taken).")],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Made if need be.")],
    private: Annotated[
        bool | None,
        typer.Option(
            "--private/--public", help="Of a repository that is made. Default: its owner's setting."
        ),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="A branch. Default: main.")] = None,
    message: Annotated[str | None, typer.Option(help="Of the commit.")] = None,
    license_: CardLicense = None,
    datasets: CardDatasets = None,
    language: Annotated[str | None, typer.Option(help="For the model card. Default: en.")] = None,
    encoder_weights: EncoderWeights = None,
    include_encoder: Annotated[
        bool,
        typer.Option(
            "--include-encoder/--no-encoder", help="Whether the captioner carries its frozen encoder."
        ),
    ] = True,
) -> None:
    """Put a captioner with its model card on the Hugging Face hub; log in first: hf auth login."""
    from showtell.inference.captioner import Captioner

    given = {"license": license_, "datasets": datasets or None, "language": language}
    captioner = Captioner.load(checkpoint, encoder_weights=encoder_weights, device="cpu")
    address = captioner.push_to_hub(
        repository,
        private=private,
        revision=revision,
        commit_message=message,
        include_encoder=include_encoder,
        card={name: value for name, value in given.items() if value is not None},
    )
    typer.echo(address)
