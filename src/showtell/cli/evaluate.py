"""``showtell evaluate``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    from showtell.checkpoints.hub import find_checkpoint
    from showtell.errors import ConfigError
    from showtell.inference.onnx_files import is_export

    if output not in {"table", "json"}:
        raise ConfigError(f"--format {output} cannot be used", expected="table or json")
    given = {
        "beam_size": beam_size,
        "max_tokens": max_tokens,
        "length_penalty": length_penalty,
        "no_repeat_ngram_size": no_repeat_ngram_size,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    checkpoint = find_checkpoint(checkpoint)
    kept = {
        "--encoder-weights": encoder_weights,
        "--features": features,
        "--predictions": predictions,
        "--with": together_with or None,
    }
    common: dict[str, Any] = {"data": data, "split": split, "device": device, "threads": threads}
    with _started(meteor) as program:
        if is_export(checkpoint):
            from showtell.export.evaluate import evaluate_export

            options = _export_options(checkpoint, changes, kept)
            told = evaluate_export(checkpoint, options=options, meteor=program, **common)
            _print(told.scores, told.texts, told.seconds, data, output)
            return
        from showtell.checkpoints.checkpoint import read_config
        from showtell.config.generation import build_options, override

        options = override(build_options(**read_config(checkpoint)[1]["generation"]), **changes)

        from showtell.training.evaluate import evaluate_checkpoint

        evaluation = evaluate_checkpoint(
            checkpoint,
            options=options,
            encoder_weights=encoder_weights,
            features=features,
            predictions=predictions,
            meteor=program,
            together_with=[find_checkpoint(path) for path in together_with or ()],
            **common,
        )
        _print(evaluation.scores, evaluation.texts, evaluation.seconds, data, output)


def _started(wanted: bool) -> contextlib.AbstractContextManager[Meteor | None]:
    """Return METEOR's program, already running: what it lacks is told before anything is decoded."""
    if not wanted:
        return contextlib.nullcontext()
    from showtell.metrics.meteor import Meteor

    program = Meteor()
    program.start()
    return program


def _export_options(export: Path, changes: dict[str, Any], unusable: dict[str, Any]) -> Any:
    from showtell.config.generation import override
    from showtell.errors import ConfigError
    from showtell.inference.onnx_config import read_config

    given = [name for name, value in unusable.items() if value is not None]
    if given:
        raise ConfigError(
            f"{', '.join(given)} cannot be used with {export}",
            found="an export, which looks at pictures by itself",
            mend="Leave it out; showtell caption --format jsonl writes what is said of each picture",
        )
    return override(read_config(export).generation, **changes)


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
