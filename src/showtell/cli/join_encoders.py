"""``showtell join-encoders``."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    weights: Annotated[
        list[Path],
        typer.Argument(help="Safetensors files of a ResNet and a DenseNet, or of two different ones."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")],
) -> None:
    """Write the weights of two frozen encoders to one file, for --encoder-weights of a recipe that names both."""
    from showtell.encoders.joined import join_weights
    from showtell.encoders.weights import read_weights
    from showtell.system.console import show

    name = join_weights([read_weights(path) for path in weights], out)
    show(f"{out}: {name}, {out.stat().st_size / 1e6:.1f} MB")
