"""``showtell tune``."""

from pathlib import Path
from typing import Annotated

import typer

from showtell.cli import common_options as common


def command(
    recipe: common.RecipeName,
    data: common.PreparedData,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The tuning's directory; an interrupted one is resumed.")
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
        int | None, typer.Option(min=1, help="Training images of a trial. Default: the recipe's.")
    ] = None,
    prune: Annotated[
        bool | None,
        typer.Option(
            "--prune/--no-prune",
            help="Stop trials that are worse than the median at the same epoch. Default: unless --grid.",
        ),
    ] = None,
    set_: common.Overrides = None,
    encoder_weights: common.EncoderWeights = None,
    features: common.Features = None,
    device: common.Device = "auto",
) -> None:
    """Search hyper-parameters by short trainings, and print the best."""
    from showtell.config.recipe import load_recipe
    from showtell.system.console import note, show

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
    show(result.table())
