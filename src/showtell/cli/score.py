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
    output_format: common.OutputFormat = "table",
    tokenizer: common.ScoreTokenizerName = "ptb",
    subset: Annotated[
        bool,
        typer.Option(
            "--subset", help="Score only the images that have a candidate; the signature names both numbers."
        ),
    ] = False,
) -> None:
    """Score captions with BLEU, ROUGE-L and CIDEr-D, with the digits of coco-caption's code and without Java."""
    from showtell.metrics.score_files import score_files
    from showtell.system.console import note

    scores = score_files(references, candidates, subset=subset, tokenizer=tokenizer)
    for text in scores.notes:
        note(f"note: {text}")
    if output_format == "json":
        counts = {"num_images": scores.num_images, "references": list(scores.references)}
        counts["empty_candidates"] = scores.empty_candidates
        result = {"scores": scores.values, **counts, "notes": scores.notes, "signature": scores.signature}
        typer.echo(json.dumps(result, indent=2))
    else:
        typer.echo(scores.table())
