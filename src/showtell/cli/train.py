"""``showtell train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from showtell.cli.common_options import Features


def command(
    recipe: Annotated[
        str, typer.Argument(help="A shipped recipe's name (showtell recipes), or a YAML file.")
    ],
    data: Annotated[Path, typer.Option("--data", help="The prepared set.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The run's directory; an interrupted run goes on.")
    ],
    encoder_weights: Annotated[
        Path | None, typer.Option(help="A local safetensors file in place of the hub's weights.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a recipe key: optimizer.lr=3e-4. Repeatable.")
    ] = None,
    features: Features = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    include_encoder: Annotated[
        bool, typer.Option("--include-encoder", help="Let checkpoints carry the encoder too.")
    ] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Throw away the run that is there.")] = False,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Train so many seeds, each in OUT/seed-N, and tell mean and spread."),
    ] = None,
) -> None:
    """Train a captioner by a recipe; run the same again to go on after an interruption."""
    from showtell.config.recipe import load_recipe
    from showtell.system.console import note

    resolved = load_recipe(recipe, set_)

    from showtell.experiments.seeds import train_seeds
    from showtell.report import write_report, write_seeds_report
    from showtell.training.distributed import is_main_process
    from showtell.training.trainer import train

    options: dict[str, Any] = {
        "data": data,
        "out": out,
        "encoder_weights": encoder_weights,
        "features": features,
        "device": device,
        "include_encoder": include_encoder,
        "restart": restart,
    }
    if seeds is None:
        table = train(resolved, **options).evaluation.scores.table()
    else:
        several = train_seeds(resolved, seeds, **options)
        table = several.table()
    if not is_main_process():
        return
    if seeds is None:
        report = write_report(out)
    else:
        for run in several.runs:
            write_report(run.run)
        report = write_seeds_report(out)
    note(f"report: {report}")
    typer.echo(table)
