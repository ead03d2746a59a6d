"""Options that several verbs take, each said once: the same words and the same meaning everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from showtell.errors import INSTALL

EncoderWeights = Annotated[Path | None, typer.Option(help="A local file with the encoder's weights.")]
Features = Annotated[
    Path | None, typer.Option(help="The folder of feature caches. Default: beside the prepared set.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda ...")]
Threads = Annotated[int, typer.Option(help="CPU threads; 0: OMP_NUM_THREADS, else one per usable core.")]
WithMeteor = Annotated[
    bool,
    # Unescaped, rich takes the extra for markup.
    typer.Option(
        "--meteor",
        help=f"METEOR 1.5 too: needs Java and {INSTALL.format(extra='meteor')}.".replace("[", r"\["),
    ),
]
CardLicense = Annotated[
    str | None, typer.Option("--license", help="For the model card: mit, cc-by-nc-4.0, other ...")
]
CardDatasets = Annotated[
    list[str] | None,
    typer.Option("--dataset", help="For the model card: its training data on the hub. Repeatable."),
]
