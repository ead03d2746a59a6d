"""``showtell index``."""

from pathlib import Path
from typing import Annotated

import typer

from showtell.cli import common_options as common


def command(
    checkpoint: Annotated[
        Path, typer.Argument(help="A checkpoint, a run (its best/ is used), or OWNER/NAME on the hub.")
    ],
    data: common.PreparedData,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The captioner to write: a new directory, or one to replace.")
    ],
    split: Annotated[str, typer.Option(help="The split whose images and captions are indexed.")] = "train",
    replace_datastore: Annotated[
        bool, typer.Option("--replace", help="Leave out what the captioner's datastore has so far.")
    ] = False,
    beam_size: common.BeamSize = None,
    retrieval_weight: common.RetrievalWeight = None,
    neighbours: common.Neighbours = None,
    retrieve_caption: common.RetrieveCaption = None,
    encoder_weights: common.EncoderWeights = None,
    features: common.Features = None,
    include_encoder: Annotated[
        bool, typer.Option("--include-encoder/--no-encoder", help="Whether to write the frozen encoder too.")
    ] = True,
    device: common.Device = "auto",
    threads: common.Threads = 0,
) -> None:
    """Give a captioner a datastore of images and captions, or add to its own: they rerank its captions.

    Nothing is trained. An image that the datastore has already gets its new captions.
    """
    from showtell.experiments.index import index_captions
    from showtell.system.console import show

    indexed = index_captions(
        checkpoint,
        out,
        data=data,
        split=split,
        replace_datastore=replace_datastore,
        encoder_weights=encoder_weights,
        features=features,
        include_encoder=include_encoder,
        device=device,
        threads=threads,
        **common.given(
            beam_size=beam_size,
            retrieval_weight=retrieval_weight,
            neighbours=neighbours,
            retrieve_caption=retrieve_caption,
        ),
    )
    for name, size in indexed.sizes.items():
        show(f"{out / name}: {size / 1e6:.2f} MB")
