"""``showtell leaderboard``."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from showtell.cli import common_options as common


def command(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Runs, directories of train --seeds, checkpoints, OWNER/NAME on the hub, or files of captions."
        ),
    ],
    data: common.PreparedData,
    split: common.Split = "dev",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The Markdown file. Default: standard output.")
    ] = None,
    title: Annotated[
        str | None, typer.Option(help="Its heading. Default: the set's name and the split.")
    ] = None,
    meteor: common.WithMeteor = False,
    baseline: Annotated[
        Path | None, typer.Option(help="The run to compare the others with (paired bootstrap).")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Also write an HTML page with images and all their captions.")
    ] = None,
    num_images: Annotated[int, typer.Option(min=1, help="Number of images on the page.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Seed for choosing them.")] = 0,
    evaluations: common.Evaluations = None,
    allow_other_dataset: Annotated[
        bool,
        typer.Option("--allow-other-dataset", help="Accept captioners that were trained on another set."),
    ] = False,
    encoder_weights: common.EncoderWeights = None,
    features: common.Features = None,
    device: common.Device = "auto",
    threads: common.Threads = 0,
) -> None:
    """Compare captioners: scores with confidence intervals, caption statistics and a human baseline."""
    from showtell.experiments.leaderboard.evaluate import collect
    from showtell.experiments.leaderboard.pages import to_markdown, write_page
    from showtell.system.atomic import write_text
    from showtell.system.console import note, show

    heading = title or f"{data.resolve().name}, {split}"
    with common.open_meteor(meteor) as program:
        results = collect(
            runs,
            data=data,
            split=split,
            baseline=baseline,
            meteor=program,
            evaluations=evaluations,
            allow_other_dataset=allow_other_dataset,
            encoder_weights=encoder_weights,
            features=features,
            device=device,
            threads=threads,
        )
    # What is written and from what; not where weights and caches are, nor how it is computed.
    shown: dict[str, Any] = {"--data": data, "--split": split, "--meteor": meteor, "--baseline": baseline}
    shown |= {"--allow-other-dataset": allow_other_dataset, "--title": title, "-o": out, "--html": html}
    if html is not None:
        shown |= {"--num-images": num_images, "--seed": seed}
    words = ["showtell", "leaderboard", *map(str, runs)]
    for name, value in shown.items():
        if value is not None and value is not False:
            words += [name] if value is True else [name, str(value)]
    text = to_markdown(results, title=heading, command=shlex.join(words))
    if out is None:
        show(text.removesuffix("\n"))
    else:
        write_text(out, text)
        note(f"table: {out}")
    if html is not None:
        write_page(results, html, title=heading, num_images=num_images, seed=seed)
        note(f"page: {html}")
    if results.failures:
        raise typer.Exit(3)
