"""``showtell evaluate``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from showtell.cli.common_options import (
    BeamSize,
    Device,
    EncoderWeights,
    Features,
    LengthPenalty,
    MaxTokens,
    NoRepeatNgramSize,
    PreparedData,
    Split,
    Threads,
    WithMeteor,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from showtell.metrics import Scores
    from showtell.metrics.meteor import Meteor


def command(
    checkpoint: Annotated[
        Path, typer.Argument(help="Checkpoint, run (its best/ is used), export, or OWNER/NAME on the hub.")
    ],
    data: PreparedData,
    split: Split = "dev",
    beam_size: BeamSize = None,
    max_tokens: MaxTokens = None,
    length_penalty: LengthPenalty = None,
    no_repeat_ngram_size: NoRepeatNgramSize = None,
    meteor: WithMeteor = False,
    ensemble_with: Annotated[
        list[Path] | None, typer.Option(help="Another captioner to ensemble with. Repeatable.")
    ] = None,
    encoder_weights: EncoderWeights = None,
    features: Features = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Write captions, references and scores to this file, as JSON lines.")
    ] = None,
    output: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Score a captioner on a split: BLEU, ROUGE-L and CIDEr-D with their signature, and caption statistics."""
    from showtell.errors import ConfigError

    if output not in {"table", "json"}:
        raise ConfigError(f"unknown --format {output}", expected="table or json")
    options = {
        "beam_size": beam_size,
        "max_tokens": max_tokens,
        "length_penalty": length_penalty,
        "no_repeat_ngram_size": no_repeat_ngram_size,
    }
    with _start_meteor(meteor) as program:
        from showtell.export.evaluate import evaluate

        evaluation = evaluate(
            checkpoint,
            data=data,
            split=split,
            ensemble_with=ensemble_with or (),
            encoder_weights=encoder_weights,
            features=features,
            predictions=predictions,
            meteor=program,
            device=device,
            threads=threads,
            **{name: value for name, value in options.items() if value is not None},
        )
        _print_scores(evaluation.scores, evaluation.texts, evaluation.seconds, data, output)


def _start_meteor(wanted: bool) -> contextlib.AbstractContextManager[Meteor | None]:
    """Start METEOR's program, so that a missing dependency is reported before anything is decoded."""
    if not wanted:
        return contextlib.nullcontext()
    from showtell.metrics.meteor import Meteor

    program = Meteor()
    program.start()
    return program


def _print_scores(scores: Scores, texts: Sequence[str], seconds: float, data: Path, output: str) -> None:
    import json
    from dataclasses import asdict

    from showtell.data.prepared import PreparedSet
    from showtell.metrics.caption_stats import measure
    from showtell.system.console import text_table
    from showtell.training.evaluate import read_training_captions

    stats = measure(texts, read_training_captions(PreparedSet.load(data)))
    if output == "json":
        details = {"quality": asdict(stats), "signature": scores.signature, "seconds": seconds}
        typer.echo(json.dumps({**scores.values, **details}))
    else:
        cells = stats.cells()
        typer.echo(f"{scores.table()}\n\n{text_table([list(cells), list(cells.values())])}")
