"""Evaluation of a checkpoint on a split of a prepared set: the function behind ``showtell evaluate``."""

from collections.abc import Sequence
from pathlib import Path

from showtell.checkpoints.checkpoint import Checkpoint, as_trained, load_checkpoint
from showtell.checkpoints.ensemble import make_ensemble
from showtell.config.generation import DecodingOptions
from showtell.data.prepared import PreparedSet
from showtell.metrics.meteor import MeteorScorer
from showtell.retrieval.overlap import check_unseen, note_near_duplicates
from showtell.training.device import resolve_device_config
from showtell.training.evaluator import Evaluation, Evaluator
from showtell.training.feature_sources import open_checkpoint_source
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
    batch_size: int = 64,
    predictions: Path | None = None,
    meteor: MeteorScorer | None = None,
    ensemble_with: Sequence[Path] = (),
    score_tokenizer: str = "auto",
) -> Evaluation:
    """Caption a whole split and score the captions, as validation does in training; see `showtell.evaluate`.

    Args:
        checkpoint: A checkpoint, or a run (its ``best/``); or one that is loaded with its encoder.
        data: A prepared set. Missing features of the split are extracted.
        options: Decoding options; None: the checkpoint's.
        batch_size: Images decoded per batch.
        score_tokenizer: Tokenizer of the scores, as in `Scorer`; "auto": by the references' script.
        predictions: JSON lines file to write captions, references, scores and attention to.

    Raises:
        ShowtellError: checkpoint, data, weights or split cannot be used.
    """
    compute = resolve_device_config(device, threads=threads)
    prepared = PreparedSet.load(data)
    loaded = checkpoint
    if not isinstance(loaded, Checkpoint):
        loaded = load_checkpoint(loaded, encoder_weights=encoder_weights, device=compute.device)
    others = [load_checkpoint(path, with_encoder=False, device=compute.device) for path in ensemble_with]
    prepared = as_trained(prepared, *(member.config for member in (loaded, *others)))
    rows = prepared.split_rows(split)
    options = options or loaded.generation
    check_unseen(options, loaded.datastore, prepared, rows.tolist())
    source = open_checkpoint_source(prepared, loaded, features, rows=rows)
    evaluator = Evaluator(
        prepared,
        rows,
        source,
        loaded.tokenizer,
        compute,
        batch_size,
        meteor=meteor,
        score_tokenizer=score_tokenizer,
        preprocessing=loaded.encoder.preprocessing,
        datastore=loaded.datastore,
    )
    model = make_ensemble([loaded, *others]) if others else loaded.model
    evaluation = evaluator.evaluate(model, options, attention=predictions is not None)
    if options.retrieval != "off":
        note_near_duplicates(prepared, evaluation.rows, (best.neighbours for best in evaluation.hypotheses))
    if predictions is not None:
        write_predictions(predictions, prepared, evaluation, loaded.tokenizer, loaded.grid)
    return evaluation
