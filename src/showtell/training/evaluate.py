"""Judging a checkpoint on a split of a prepared set: the function behind ``showtell evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from showtell.checkpoints.checkpoint import Checkpoint, load_checkpoint
from showtell.checkpoints.ensemble import make_ensemble
from showtell.config.generation import DecodingOptions
from showtell.data.prepared import PreparedSet
from showtell.metrics.caption_stats import TrainingCaptions
from showtell.metrics.meteor import MeteorScorer
from showtell.training.build import open_feature_source
from showtell.training.device import resolve_device_config
from showtell.training.evaluator import Evaluation, Evaluator
from showtell.training.predictions import write_predictions


def evaluate_checkpoint(
    checkpoint: Path | Checkpoint,
    *,
    data: Path,
    split: str = "dev",
    options: DecodingOptions | None = None,
    encoder_weights: Path | None = None,
    features: Path | None = None,
    device: str = "auto",
    threads: int = 0,
    pictures: int = 64,
    predictions: Path | None = None,
    meteor: MeteorScorer | None = None,
    together_with: Sequence[Path] = (),
) -> Evaluation:
    """Let a checkpoint caption a whole split and score what it says, by the road that training uses.

    Args:
        checkpoint: A checkpoint, or a run (its ``best/``); or one that is loaded with its encoder.
        data: A prepared set.
        split: One of its splits.
        options: How to decode; None: as the checkpoint says.
        encoder_weights: A local file with the encoder's weights.
        features: The folder of feature caches; None: beside the prepared set. Missing ones are extracted.
        device: ``auto``, ``cpu``, ``cuda``...
        threads: CPU threads; 0: one per usable core.
        pictures: Pictures decoded at once.
        predictions: Where to write each picture's caption, references, scores and attention as JSON lines.
        meteor: What computes METEOR beside the other scores.
        together_with: Further checkpoints or runs that tell together with the first one, see
            `showtell.checkpoints.ensemble`.

    Raises:
        ShowtellError: checkpoint, data, weights or split cannot be used.
    """
    compute = resolve_device_config(device, "auto", threads)
    prepared = PreparedSet.load(data)
    loaded = (
        checkpoint
        if isinstance(checkpoint, Checkpoint)
        else load_checkpoint(checkpoint, encoder_weights=encoder_weights, device=compute.device)
    )
    assert loaded.model.encoder is not None
    regions = loaded.model.decoder.spec.reads_regions
    rows = prepared.split_rows(split)
    memories = open_feature_source(prepared, loaded.model.encoder, features, rows=rows, regions=regions)
    evaluator = Evaluator(
        prepared, split, memories, loaded.tokenizer, compute, pictures=pictures, meteor=meteor
    )
    others = [load_checkpoint(path, with_encoder=False, device=compute.device) for path in together_with]
    model = make_ensemble([loaded, *others]) if others else loaded.model
    evaluation = evaluator.evaluate(model, options or loaded.generation, attention=predictions is not None)
    if predictions is not None:
        write_predictions(predictions, prepared, evaluation, loaded.tokenizer, loaded.grid)
    return evaluation


def read_training_captions(prepared: PreparedSet) -> TrainingCaptions | None:
    """Return what a captioner of this set has read; None where the set has no training split."""
    if "train" not in prepared.manifest["splits"]:
        return None
    return TrainingCaptions(
        text for row in prepared.split_rows("train") for text in prepared.captions(int(row))
    )
