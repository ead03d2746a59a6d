"""``showtell bundle``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from showtell.cli.common_options import CardDatasets, CardLicense, EncoderWeights


def command(
    checkpoint: Annotated[
        list[Path],
        typer.Argument(
            help="A checkpoint, a run (its best/ is taken), or OWNER/NAME on the hub. Several that began with the "
            "same weights become one: their mean."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The directory to write: new, empty, or one packed before.")
    ],
    shares: Annotated[
        list[float] | None,
        typer.Option(
            "--share",
            help="How much each of several counts, in their order. Repeatable. Default: all the same.",
        ),
    ] = None,
    beam_size: Annotated[
        int | None, typer.Option(help="Beam width it shall have. Default: as it is.")
    ] = None,
    length_penalty: Annotated[
        float | None, typer.Option(help="Length penalty it shall have. Default: as it is.")
    ] = None,
    no_repeat_ngram_size: Annotated[
        int | None, typer.Option(help="N-grams of this size shall never repeat. Default: as it is.")
    ] = None,
    flip_average: Annotated[
        bool,
        typer.Option(
            "--flip-average",
            help="It shall look at each picture's mirror image too: somewhat better captions for twice the looking.",
        ),
    ] = False,
    data: Annotated[
        Path | None, typer.Option(help="A prepared set to judge it on once it is packed, for the model card.")
    ] = None,
    split: Annotated[str, typer.Option(help="The split of that set.")] = "dev",
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
    """Make a captioner, or the mean of several, ready to be kept in a repository: half floats, a model card."""
    from showtell.experiments.bundle import make_bundle

    given = {"license": license_, "datasets": datasets, "notes": notes}
    search = {
        "beam_size": beam_size,
        "length_penalty": length_penalty,
        "no_repeat_ngram_size": no_repeat_ngram_size,
    }
    packed = make_bundle(
        checkpoint,
        out,
        shares=shares or None,
        encoder=encoder,
        encoder_weights=encoder_weights,
        recipe=recipe,
        card={name: value for name, value in given.items() if value},
        generation={name: value for name, value in search.items() if value is not None},
        flip_average=flip_average,
        data=data,
        split=split,
    )
    for name, size in packed.sizes.items():
        typer.echo(f"{packed.directory / name}: {size / 1e6:.2f} MB")
    if packed.encoder is not None:
        typer.echo(f"{packed.encoder}: {packed.encoder.stat().st_size / 1e6:.2f} MB")
