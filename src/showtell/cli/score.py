"""``showtell score``: candidates of a file against references of another, without a model."""

import json
from pathlib import Path
from typing import Annotated

import typer

from showtell.cli import common_options as common


def command(
    references: Annotated[Path, typer.Option(help="Human captions: COCO annotations JSON, or JSON lines.")],
    candidates: Annotated[
        Path, typer.Option(help="Captions to score, one per image: COCO results JSON, or JSON lines.")
    ],
    against: Annotated[
        Path | None,
        typer.Option(
            help="Other captions of the same images: differences with intervals (paired bootstrap)."
        ),
    ] = None,
    explain: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID", help="Show which n-grams of this image's caption earn and lose. Repeatable."
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Also write an HTML page; with --against it has the largest gains and losses."),
    ] = None,
    num_images: Annotated[int, typer.Option(min=0, help="Number of gains and of losses on the page.")] = 10,
    output_format: common.OutputFormat = "table",
    tokenizer: common.ScoreTokenizerName = "ptb",
    meteor: common.WithMeteor = False,
    subset: Annotated[
        bool,
        typer.Option(
            "--subset", help="Score only the images that have a candidate; the signature names both numbers."
        ),
    ] = False,
) -> None:
    """Score captions with BLEU, ROUGE-L and CIDEr-D, with the digits of coco-caption's code and without Java."""
    from showtell.metrics.score_files import compare_files
    from showtell.report.scores import to_json, to_text, write_scores_page
    from showtell.system.console import note, show

    with common.open_meteor(meteor) as program:
        result = compare_files(
            references,
            candidates,
            against=against,
            explain=explain or (),
            num_changed=num_images if html is not None else 0,
            subset=subset,
            tokenizer=tokenizer,
            meteor=program,
        )
    for text in result.scores.notes:
        note(f"note: {text}")
    if result.others is not None:
        for text in result.others.notes:
            note(f"note on {against}: {text}")
    show(json.dumps(to_json(result), indent=2) if output_format == "json" else to_text(result))
    if html is not None:
        write_scores_page(result, html, title=candidates.name)
        note(f"page: {html}")
