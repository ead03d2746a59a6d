"""``showtell tune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from showtell.cli.common_options import Features


def command(
    recipe: Annotated[
        str, typer.Argument(help="A shipped recipe's name (showtell recipes), or a YAML file.")
    ],
    data: Annotated[Path, typer.Option("--data", help="The prepared set.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The tuning's directory; an interrupted one goes on.")
    ],
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Trials in all, earlier ones included. Default: 20, or the whole grid."),
    ] = None,
    search: Annotated[
        list[str] | None,
        typer.Option(
            help="KEY=low..high, KEY=low..high:log or KEY=a,b,c. Repeatable. "
            "Default: the learning rate, from a tenth to ten times the recipe's."
        ),
    ] = None,
    grid: Annotated[bool, typer.Option("--grid", help="Try all combinations of the listed values.")] = False,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of a trial. Default: the recipe's.")
    ] = None,
    subset: Annotated[
        int | None, typer.Option(min=1, help="Training pictures of a trial. Default: the recipe's.")
    ] = None,
    prune: Annotated[
        bool | None,
        typer.Option(
            "--prune/--no-prune",
            help="Cut trials short that are worse than the median at the same epoch. Default: unless --grid.",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a recipe key in all trials. Repeatable.")
    ] = None,
    encoder_weights: Annotated[
        Path | None, typer.Option(help="A local safetensors file in place of the hub's weights.")
    ] = None,
    features: Features = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
) -> None:
    """Try values of a recipe's keys on short trainings, and tell which were best."""
    from showtell.config.recipe import load_recipe
    from showtell.system.console import note

    load_recipe(recipe, set_)

    from showtell.experiments.tuning import tune
    from showtell.report import write_report, write_tuning_report

    result = tune(
        recipe,
        data=data,
        out=out,
        trials=trials,
        searches=search or [],
        overrides=set_ or [],
        grid=grid,
        epochs=epochs,
        subset=subset,
        prune=prune,
        encoder_weights=encoder_weights,
        features=features,
        device=device,
    )
    if result.best is not None:
        write_report(out / result.best.run)
    note(f"report: {write_tuning_report(out)}")
    typer.echo(result.table())
