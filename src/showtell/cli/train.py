"""``showtell train``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from showtell.cli import common_options as common
from showtell.errors import ConfigError

FINE_TUNE = "fine-tune"


def command(
    data: common.PreparedData,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Run directory; an interrupted run in it resumes.")
    ],
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="Name of a shipped recipe (see showtell recipes), or a YAML file. Default with --from: fine-tune."
        ),
    ] = None,
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Train this captioner further: its encoder, decoder and words, plus the words of your captions.",
        ),
    ] = None,
    holdout: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Hold N training images out, as the split holdout, and validate on them: to compare recipes "
            "without evaluating them on dev.",
        ),
    ] = None,
    rehearse: Annotated[
        Path | None,
        typer.Option(
            help="Prepared dataset whose images every second batch is of, so that they are not forgotten."
        ),
    ] = None,
    encoder_weights: common.EncoderWeights = None,
    set_: common.Overrides = None,
    features: common.Features = None,
    device: common.Device = "auto",
    include_encoder: Annotated[
        bool, typer.Option("--include-encoder", help="Save the encoder in the checkpoints too.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Delete the existing run and start over.")
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1, help="Train N seeds, each in OUT/seed-N, and report mean and standard deviation."
        ),
    ] = None,
) -> None:
    """Train a captioner from a recipe. Run the same command again to resume after an interruption."""
    from showtell.config.recipe import load_recipe
    from showtell.system.console import note, show

    if recipe is None and from_ is None:
        raise ConfigError(
            "no recipe is named",
            mend="Name one (see showtell recipes), or a captioner to train further: --from",
        )
    sections: dict[str, dict[str, Any]] = {}
    if from_ is not None:
        from showtell.training.warm_start import sections_of

        sections = sections_of(from_)
    if rehearse is not None:
        sections["data"] = {"rehearse": str(rehearse)}
    if holdout is not None:
        set_ = [f"data.holdout={holdout}", "validation.split=holdout", *(set_ or [])]
    resolved = load_recipe(recipe or FINE_TUNE, set_, sections=sections)

    from showtell.experiments.seeds import train_seeds
    from showtell.report import write_report, write_seeds_report
    from showtell.training.distributed import is_main_process
    from showtell.training.trainer import train

    options: dict[str, Any] = {"encoder_weights": encoder_weights, "features": features, "device": device}
    options |= {"data": data, "out": out, "include_encoder": include_encoder, "restart": restart}
    if seeds is None:
        table = train(resolved, **options).evaluation.scores.table()
        if is_main_process():
            report = write_report(out)
    else:
        result = train_seeds(resolved, seeds, **options)
        table = result.table()
        if is_main_process():
            for run in result.runs:
                write_report(run.run)
            report = write_seeds_report(out)
    if is_main_process():
        note(f"report: {report}")
        show(table)
