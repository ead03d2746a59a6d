"""``showtell prepare``: check a captioned set once and write it where training and evaluation read it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from showtell.data.sources.registry import READERS


def command(
    source: Annotated[
        str, typer.Argument(help="A captioned set: a folder, a file, or hf:OWNER/NAME for one on the hub.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the prepared set goes.")],
    format: Annotated[
        str | None,
        typer.Option(help=f"{', '.join(READERS)}.", show_default="recognised"),
    ] = None,
    max_problems: Annotated[
        float, typer.Option(help="Share of pictures that may have problems; above it nothing is written.")
    ] = 0.05,
    dev_share: Annotated[
        float, typer.Option(help="Share held out for development, where the set has no split.")
    ] = 0.1,
    test_share: Annotated[
        float, typer.Option(help="Share held out for the test, where the set has no split.")
    ] = 0.0,
    make_split: Annotated[
        Literal["none", "all", "train"],
        typer.Option(
            help="Cut the shares though the set has a split: all anew, or off its training split, "
            "the others as published."
        ),
    ] = "none",
    seed: Annotated[int, typer.Option(help="Of the split that is made.")] = 42,
) -> None:
    """Check a captioned set, picture by picture, and write what is right with it."""
    from showtell.data.prepared import prepare
    from showtell.data.problems import describe

    prepared = prepare(
        source,
        out,
        format=format,
        max_problem_share=max_problems,
        dev_share=dev_share,
        test_share=test_share,
        make_split=make_split,
        seed=seed,
    )
    typer.echo("\n".join(describe(prepared.directory, prepared.manifest)))
