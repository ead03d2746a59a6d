"""``showtell leaderboard``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from showtell.cli.common_options import Device, EncoderWeights, Features, Threads, WithMeteor


def command(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Runs, directories of train --seeds, checkpoints, or OWNER/NAME on the hub."),
    ],
    data: Annotated[Path, typer.Option("--data", help="The prepared set.")],
    split: Annotated[str, typer.Option(help="The split to judge on, whole.")] = "dev",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The Markdown file. Default: standard output.")
    ] = None,
    title: Annotated[
        str | None, typer.Option(help="Its heading. Default: the set's name and the split.")
    ] = None,
    meteor: WithMeteor = False,
    baseline: Annotated[
        Path | None, typer.Option(help="The run that the others are compared with, picture by picture.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="An HTML page of some pictures with everyone's captions.")
    ] = None,
    pictures: Annotated[int, typer.Option(min=1, help="So many pictures on it.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Of their choice.")] = 0,
    evaluations: Annotated[
        Path | None,
        typer.Option(help="Where captions are kept once decoded. Default: beside the prepared set."),
    ] = None,
    other_data: Annotated[
        bool, typer.Option("--other-data", help="Take captioners that were trained on another set as well.")
    ] = False,
    encoder_weights: EncoderWeights = None,
    features: Features = None,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Make the table of captioners: scores, how sure they are, how captions read, and a person beside them."""
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
            other_data=other_data,
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
        "--other-data": other_data,
        "--title": title,
        "-o": out,
        "--page": page,
    }
    if page is not None:
        given |= {"--pictures": pictures, "--seed": seed}
    text = to_markdown(results, title=heading, command=_command(runs, given))
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_text(out, text)
        note(f"table: {out}")
    if page is not None:
        write_page(results, page, title=heading, pictures=pictures, seed=seed)
        note(f"page: {page}")
    if results.failures:
        raise typer.Exit(3)


def _command(runs: list[Path], given: dict[str, object]) -> str:
    """Return the command that was given, without what changes nothing in the table."""
    import shlex

    words = ["showtell", "leaderboard", *map(str, runs)]
    for name, value in given.items():
        if value is True:
            words.append(name)
        elif value is not None and value is not False:
            words += [name, str(value)]
    return shlex.join(words)
