"""``showtell evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from showtell.scoring import Scores


def command(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="A checkpoint, a run (its best/ is taken), an export, or OWNER/NAME on the hub."),
    ],
    data: Annotated[Path, typer.Option("--data", help="The prepared set.")],
    split: Annotated[str, typer.Option(help="The split to judge, whole.")] = "dev",
    beams: Annotated[
        int | None, typer.Option(help="Beam width; 1 is greedy. Default: the checkpoint's.")
    ] = None,
    max_words: Annotated[int | None, typer.Option(help="Tokens at most.")] = None,
    length_penalty: Annotated[
        float | None, typer.Option(help="0: sum of log-probabilities, 1: mean.")
    ] = None,
    no_repeat_ngram: Annotated[int | None, typer.Option(help="N-grams of this size never repeat.")] = None,
    encoder_weights: Annotated[
        Path | None, typer.Option(help="A local file with the encoder's weights.")
    ] = None,
    features: Annotated[
        Path | None, typer.Option(help="The folder of feature caches. Default: beside the prepared set.")
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Write captions, references and scores as JSON lines.")
    ] = None,
    output: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda ...")] = "auto",
    threads: Annotated[
        int, typer.Option(help="CPU threads; 0: OMP_NUM_THREADS, else one per usable core.")
    ] = 0,
) -> None:
    """Score a checkpoint on a split of a prepared set: BLEU, ROUGE-L, CIDEr-D, with their signature."""
    from showtell.errors import ConfigError
    from showtell.export.form import is_export
    from showtell.models.hub import find_checkpoint

    if output not in {"table", "json"}:
        raise ConfigError(f"--format {output} cannot be used", expected="table or json")
    given = {
        "beams": beams,
        "max_words": max_words,
        "length_penalty": length_penalty,
        "no_repeat_ngram": no_repeat_ngram,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    checkpoint = find_checkpoint(checkpoint)
    if is_export(checkpoint):
        kept = {
            "--encoder-weights": encoder_weights,
            "--features": features,
            "--predictions": predictions,
        }
        _judge_export(checkpoint, data, split, changes, kept, output, device, threads)
        return
    from showtell.models.checkpoint import read_config
    from showtell.options import build_options, override

    options = override(build_options(**read_config(checkpoint)[1]["search"]), **changes)

    from showtell.training.evaluation import evaluate_checkpoint

    judgement = evaluate_checkpoint(
        checkpoint,
        data=data,
        split=split,
        options=options,
        encoder_weights=encoder_weights,
        features=features,
        predictions=predictions,
        device=device,
        threads=threads,
    )
    _print(judgement.scores, judgement.seconds, output)


def _judge_export(
    export: Path,
    data: Path,
    split: str,
    changes: dict[str, Any],
    unusable: dict[str, Path | None],
    output: str,
    device: str,
    threads: int,
) -> None:
    from showtell.errors import ConfigError
    from showtell.export.form import read_config
    from showtell.export.judging import judge_export
    from showtell.options import override

    given = [name for name, value in unusable.items() if value is not None]
    if given:
        raise ConfigError(
            f"{', '.join(given)} cannot be used with {export}",
            found="an export, which looks at pictures by itself",
            mend="Leave it out; showtell caption --format jsonl writes what is said of each picture",
        )
    options = override(read_config(export).search, **changes)
    judgement = judge_export(export, data=data, split=split, options=options, device=device, threads=threads)
    _print(judgement.scores, judgement.seconds, output)


def _print(scores: Scores, seconds: float, output: str) -> None:
    import json

    if output == "json":
        typer.echo(json.dumps({**scores.values, "signature": scores.signature, "seconds": seconds}))
    else:
        typer.echo(scores.table())
