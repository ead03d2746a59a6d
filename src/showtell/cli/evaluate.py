"""``showtell evaluate``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from showtell.cli.common_options import Device, EncoderWeights, Features, Threads, WithMeteor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from showtell.metrics import Scores
    from showtell.metrics.meteor import Meteor


def command(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="A checkpoint, a run (its best/ is taken), an export, or OWNER/NAME on the hub."),
    ],
    data: Annotated[Path, typer.Option("--data", help="The prepared set.")],
    split: Annotated[str, typer.Option(help="The split to judge, whole.")] = "dev",
    beam_size: Annotated[
        int | None, typer.Option(help="Beam width; 1 is greedy. Default: the checkpoint's.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Tokens at most.")] = None,
    length_penalty: Annotated[
        float | None, typer.Option(help="0: sum of log-probabilities, 1: mean.")
    ] = None,
    no_repeat_ngram_size: Annotated[
        int | None, typer.Option(help="N-grams of this size never repeat.")
    ] = None,
    meteor: WithMeteor = False,
    together_with: Annotated[
        list[Path] | None,
        typer.Option(
            "--with", help="Another captioner that tells together with it, as an ensemble. Repeatable."
        ),
    ] = None,
    encoder_weights: EncoderWeights = None,
    features: Features = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Write captions, references and scores as JSON lines.")
    ] = None,
    output: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Score a checkpoint on a split: BLEU, ROUGE-L, CIDEr-D, their signature, and how the captions read."""
    from showtell.errors import ConfigError

    if output not in {"table", "json"}:
        raise ConfigError(f"--format {output} cannot be used", expected="table or json")
    options = {
        "beam_size": beam_size,
        "max_tokens": max_tokens,
        "length_penalty": length_penalty,
        "no_repeat_ngram_size": no_repeat_ngram_size,
    }
    with _started(meteor) as program:
        from showtell.export.evaluate import evaluate

        found = evaluate(
            checkpoint,
            data=data,
            split=split,
            ensemble_with=together_with or (),
            encoder_weights=encoder_weights,
            features=features,
            predictions=predictions,
            meteor=program,
            device=device,
            threads=threads,
            **{name: value for name, value in options.items() if value is not None},
        )
        _print(found.scores, found.texts, found.seconds, data, output)


def _started(wanted: bool) -> contextlib.AbstractContextManager[Meteor | None]:
    """Return METEOR's program, already running: what it lacks is told before anything is decoded."""
    if not wanted:
        return contextlib.nullcontext()
    from showtell.metrics.meteor import Meteor

    program = Meteor()
    program.start()
    return program


def _print(scores: Scores, texts: Sequence[str], seconds: float, data: Path, output: str) -> None:
    import json
    from dataclasses import asdict

    from showtell.data.prepared import PreparedSet
    from showtell.metrics.caption_stats import measure
    from showtell.system.console import text_table
    from showtell.training.evaluate import read_training_captions

    quality = measure(texts, read_training_captions(PreparedSet.load(data)))
    if output == "json":
        about = {"quality": asdict(quality), "signature": scores.signature, "seconds": seconds}
        typer.echo(json.dumps({**scores.values, **about}))
    else:
        cells = quality.cells()
        typer.echo(f"{scores.table()}\n\n{text_table([list(cells), list(cells.values())])}")
