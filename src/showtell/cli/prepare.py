"""``showtell prepare``: validate a captioned dataset once, for training and evaluation."""

import shutil
from pathlib import Path
from typing import Annotated, Literal

import typer

from showtell.data.sources.registry import READERS


def command(
    source: Annotated[
        str,
        typer.Argument(help="Captioned dataset: a folder, a file, or hf:OWNER/NAME on the Hugging Face hub."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory of the prepared set.")],
    format: Annotated[
        str | None,
        typer.Option(help=f"Format of the dataset: {', '.join(READERS)}.", show_default="detected"),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of the images.", show_default="searched for beside the annotation file"),
    ] = None,
    image_column: Annotated[
        str, typer.Option(help="Column or field of the images, in a table.", show_default="by its name")
    ] = "",
    caption_column: Annotated[
        str, typer.Option(help="Column or field of the captions, in a table.", show_default="by its name")
    ] = "",
    max_problems: Annotated[
        float, typer.Option(help="Largest fraction of images with problems; above it nothing is written.")
    ] = 0.05,
    dev_fraction: Annotated[
        float, typer.Option(help="Fraction of images for development, if the dataset has no split.")
    ] = 0.1,
    test_fraction: Annotated[
        float, typer.Option(help="Fraction of images for testing, if the dataset has no split.")
    ] = 0.0,
    make_split: Annotated[
        Literal["none", "all", "train"],
        typer.Option(
            help="Generate a split although the dataset has one: from all images, or from its training split only."
        ),
    ] = "none",
    seed: Annotated[int, typer.Option(help="Seed of the generated split.")] = 42,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a prepared set of another dataset.")
    ] = False,
) -> None:
    """Validate a captioned dataset and write the usable examples."""
    from showtell.data.description import describe
    from showtell.data.prepared import prepare
    from showtell.system.console import show

    prepared = prepare(
        source,
        out,
        format=format,
        images=images,
        image_column=image_column,
        caption_column=caption_column,
        max_problem_fraction=max_problems,
        dev_fraction=dev_fraction,
        test_fraction=test_fraction,
        make_split=make_split,
        seed=seed,
        overwrite=overwrite,
    )
    text = "\n".join(describe(prepared, width=shutil.get_terminal_size((100, 24)).columns))
    show(text)
