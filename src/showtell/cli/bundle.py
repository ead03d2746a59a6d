"""``showtell bundle``."""

from pathlib import Path
from typing import Annotated

import typer

from showtell.cli import common_options as common


def command(
    checkpoint: Annotated[
        list[Path],
        typer.Argument(
            help="A checkpoint, a run (its best/), or OWNER/NAME on the hub. Several with the same initial weights "
            "are merged: the mean of their weights."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The directory to write: new, empty, or an earlier bundle.")
    ],
    weights: Annotated[
        list[float] | None,
        typer.Option("--weight", help="Weight of each of several, in order. Repeatable. Default: equal."),
    ] = None,
    beam_size: common.BeamSize = None,
    length_penalty: common.LengthPenalty = None,
    no_repeat_ngram_size: common.NoRepeatNgramSize = None,
    retrieval: common.Retrieval = None,
    retrieval_weight: common.RetrievalWeight = None,
    neighbours: common.Neighbours = None,
    retrieve_caption: common.RetrieveCaption = None,
    flip_average: Annotated[
        bool,
        typer.Option(
            "--flip-average",
            help="Average features over horizontal flips: slightly better captions, 2× encoder time.",
        ),
    ] = False,
    data: Annotated[
        Path | None, typer.Option(help="A prepared set to evaluate the bundle on, for the model card.")
    ] = None,
    split: Annotated[str, typer.Option(help="The split of that set.")] = "dev",
    encoder: Annotated[
        Path | None,
        typer.Option(
            help="A file beside it for the frozen encoder, shared by several captioners; written if missing. "
            "Default: inside the directory."
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="For the model card: the shipped recipe that trains such a captioner.")
    ] = None,
    license_: common.CardLicense = None,
    datasets: common.CardDatasets = None,
    notes: Annotated[
        list[str] | None,
        typer.Option("--card-note", help="For the model card: a known limitation. Repeatable."),
    ] = None,
    encoder_weights: common.EncoderWeights = None,
) -> None:
    """Bundle a captioner, or the mean of several, for a repository: float16 weights and a model card.

    Decoding options become its defaults; those not given stay as they are.
    """
    from showtell.experiments.bundle import make_bundle
    from showtell.system.console import show

    generation = common.given(
        beam_size=beam_size,
        length_penalty=length_penalty,
        no_repeat_ngram_size=no_repeat_ngram_size,
        retrieval=retrieval,
        retrieval_weight=retrieval_weight,
        neighbours=neighbours,
        retrieve_caption=retrieve_caption,
    )
    files = make_bundle(
        checkpoint,
        out,
        weights=weights or None,
        encoder=encoder,
        encoder_weights=encoder_weights,
        recipe=recipe,
        card=common.given(license=license_, datasets=datasets, notes=notes),
        generation=generation,
        flip_average=flip_average,
        data=data,
        split=split,
    )
    for path in files:
        show(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
