"""``showtell push``."""

from pathlib import Path
from typing import Annotated

import typer

from showtell.cli import common_options as common


def command(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint, or a run (its best/ is used).")],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Created if it is missing.")],
    private: Annotated[
        bool | None,
        typer.Option("--private/--public", help="Of a new repository. Default: its owner's setting."),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="A branch. Default: main.")] = None,
    message: Annotated[str | None, typer.Option(help="The commit message.")] = None,
    license_: common.CardLicense = None,
    datasets: common.CardDatasets = None,
    language: Annotated[str | None, typer.Option(help="For the model card. Default: en.")] = None,
    encoder_weights: common.EncoderWeights = None,
    include_encoder: Annotated[
        bool, typer.Option("--include-encoder/--no-encoder", help="Whether to push the frozen encoder too.")
    ] = True,
) -> None:
    """Push a captioner with its model card to the Hugging Face hub; log in first: hf auth login."""
    from showtell.checkpoints.hub import check_repository
    from showtell.inference.captioner import Captioner

    check_repository(repository)
    captioner = Captioner.load(checkpoint, encoder_weights=encoder_weights, device="cpu")
    url = captioner.push_to_hub(
        repository,
        private=private,
        revision=revision,
        commit_message=message,
        include_encoder=include_encoder,
        card=common.given(license=license_, datasets=datasets, language=language),
    )
    typer.echo(url)
