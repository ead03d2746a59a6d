"""``showtell leaderboard``."""

from pathlib import Path
from typing import Annotated

import typer

from showtell.cli.common_options import (
    Device,
    EncoderWeights,
    Features,
    PreparedData,
    Split,
    Threads,
    WithMeteor,
)


def command(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Runs, directories of train --seeds, checkpoints, or OWNER/NAME on the hub."),
    ],
    data: PreparedData,
    split: Split = "dev",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The Markdown file. Default: standard output.")
    ] = None,
    title: Annotated[
        str | None, typer.Option(help="Its heading. Default: the set's name and the split.")
    ] = None,
    meteor: WithMeteor = False,
    baseline: Annotated[
        Path | None, typer.Option(help="The run to compare the others with (paired bootstrap).")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Also write an HTML page with images and all their captions.")
    ] = None,
    num_images: Annotated[int, typer.Option(min=1, help="Number of images on the page.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Seed for choosing them.")] = 0,
    evaluations: Annotated[
        Path | None,
        typer.Option(help="Folder of cached captions. Default: beside the prepared set."),
    ] = None,
    allow_other_dataset: Annotated[
        bool,
        typer.Option("--allow-other-dataset", help="Accept captioners that were trained on another set."),
    ] = False,
    encoder_weights: EncoderWeights = None,
    features: Features = None,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Compare captioners: scores with confidence intervals, caption statistics and a human baseline."""
    from showtell.experiments.leaderboard.evaluate import collect
    from showtell.experiments.leaderboard.markdown import to_markdown
    from showtell.experiments.leaderboard.page import write_page
    from showtell.metrics.meteor import Meteor
    from showtell.system.atomic import write_text
    from showtell.system.console import note

    heading = title or f"{data.resolve().name}, {split}"
    scorer = Meteor() if meteor else None
    try:
        results = collect(
            runs,
            data=data,
            split=split,
            baseline=baseline,
            meteor=scorer,
            evaluations=evaluations,
            allow_other_dataset=allow_other_dataset,
            encoder_weights=encoder_weights,
            features=features,
            device=device,
            threads=threads,
        )
    finally:
        if scorer is not None:
            scorer.close()
    given: dict[str, object] = {
        "--data": data,
        "--split": split,
        "--meteor": meteor,
        "--baseline": baseline,
        "--allow-other-dataset": allow_other_dataset,
        "--title": title,
        "-o": out,
        "--html": html,
    }
    if html is not None:
        given |= {"--num-images": num_images, "--seed": seed}
    text = to_markdown(results, title=heading, command=_command(runs, given))
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_text(out, text)
        note(f"table: {out}")
    if html is not None:
        write_page(results, html, title=heading, num_images=num_images, seed=seed)
        note(f"page: {html}")
    if results.failures:
        raise typer.Exit(3)


def _command(runs: list[Path], given: dict[str, object]) -> str:
    """Return the command that the table shows: with what it was made from, not how it ran."""
    import shlex

    words = ["showtell", "leaderboard", *map(str, runs)]
    for name, value in given.items():
        if value is True:
            words.append(name)
        elif value is not None and value is not False:
            words += [name, str(value)]
    return shlex.join(words)
