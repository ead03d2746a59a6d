"""``showtell evaluate``."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from showtell.cli import common_options as common


def command(
    checkpoint: Annotated[
        Path, typer.Argument(help="Checkpoint, run (its best/ is used), export, or OWNER/NAME on the hub.")
    ],
    data: common.PreparedData,
    split: common.Split = "dev",
    beam_size: common.BeamSize = None,
    max_tokens: common.MaxTokens = None,
    length_penalty: common.LengthPenalty = None,
    no_repeat_ngram_size: common.NoRepeatNgramSize = None,
    retrieval: common.Retrieval = None,
    retrieval_weight: common.RetrievalWeight = None,
    neighbours: common.Neighbours = None,
    retrieve_caption: common.RetrieveCaption = None,
    tokenizer: common.AnyScoreTokenizer = "auto",
    meteor: common.WithMeteor = False,
    ensemble_with: common.EnsembleWith = None,
    encoder_weights: common.EncoderWeights = None,
    features: common.Features = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Write captions, references and scores to this file, as JSON lines.")
    ] = None,
    output_format: common.OutputFormat = "table",
    device: common.Device = "auto",
    threads: common.Threads = 0,
) -> None:
    """Score a captioner on a split: BLEU, ROUGE-L and CIDEr-D with their signature, and caption statistics."""
    with common.open_meteor(meteor) as program:
        if program is not None:
            program.start()
        from showtell.data.prepared import PreparedSet
        from showtell.export.evaluate import evaluate, read_training_captions
        from showtell.metrics.caption_stats import measure
        from showtell.system.console import show, text_table

        evaluation = evaluate(
            checkpoint,
            data=data,
            split=split,
            ensemble_with=ensemble_with or (),
            encoder_weights=encoder_weights,
            features=features,
            predictions=predictions,
            meteor=program,
            tokenizer=tokenizer,
            device=device,
            threads=threads,
            **common.given(
                beam_size=beam_size,
                max_tokens=max_tokens,
                length_penalty=length_penalty,
                no_repeat_ngram_size=no_repeat_ngram_size,
                retrieval=retrieval,
                retrieval_weight=retrieval_weight,
                neighbours=neighbours,
                retrieve_caption=retrieve_caption,
            ),
        )
    scores = evaluation.scores
    training = read_training_captions(PreparedSet.load(data), scores.tokenizer)
    stats = measure(evaluation.texts, training, scores.tokenizer)
    if output_format == "json":
        details = {"quality": asdict(stats), "signature": scores.signature, "seconds": evaluation.seconds}
        typer.echo(json.dumps({**scores.values, **details}))
    else:
        cells = stats.cells()
        show(f"{scores.table()}\n\n{text_table([list(cells), list(cells.values())])}")
