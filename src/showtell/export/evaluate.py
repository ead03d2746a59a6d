"""Evaluates a captioner on a split of a prepared set: a checkpoint with cached features, an export on the images."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from showtell.checkpoints.hub import find_checkpoint
from showtell.config.generation import override
from showtell.data.changes import require_unchanged
from showtell.data.prepared import PreparedSet
from showtell.errors import ConfigError, DataError, import_extra
from showtell.inference.backend import Backend, load_backend
from showtell.inference.captioner import Captioner
from showtell.inference.onnx_files import is_export
from showtell.metrics import Scorer, Scores
from showtell.metrics.caption_stats import TrainingCaptions
from showtell.metrics.meteor import MeteorScorer
from showtell.metrics.score_tokenizers import resolve_tokenizer
from showtell.retrieval.overlap import check_unseen, note_near_duplicates
from showtell.system.console import progress_bar


@dataclass(frozen=True)
class SplitEvaluation:
    """The captions of a split in its order, their scores, and the seconds that both took."""

    texts: list[str]
    scores: Scores
    seconds: float


def evaluate(
    captioner: str | Path,
    *,
    data: str | Path,
    split: str = "dev",
    ensemble_with: Sequence[str | Path] = (),
    encoder_weights: Path | None = None,
    features: Path | None = None,
    predictions: Path | None = None,
    meteor: MeteorScorer | None = None,
    tokenizer: str = "auto",
    device: str = "auto",
    threads: int = 0,
    **options: Any,
) -> SplitEvaluation:
    """Caption a whole split of a prepared set and score the captions.

    Args:
        captioner: A checkpoint, a run (its best checkpoint), an export, or ``OWNER/NAME`` on the hub.
        data: A prepared set.
        split: One of its splits.
        ensemble_with: Other captioners, evaluated with it as an ensemble.
        encoder_weights: A local file with the encoder's weights.
        features: The folder of feature caches; None: beside the prepared set.
        predictions: Write captions, references and scores to this file as JSON lines.
        meteor: Computes METEOR too.
        tokenizer: Tokenizer of the scores, as in `Scorer`; "auto": by the references' script.
        device: As for `Captioner.load`.
        threads: As for `Captioner.load`.
        options: Fields of `DecodingOptions` that replace the captioner's.

    Raises:
        ConfigError: an option is unknown or out of range, or an export is given options of a checkpoint.
        DataError: an image of the set can no longer be read.
        ShowtellError: captioner, data or split cannot be used.
    """
    path, data = find_checkpoint(captioner), Path(data)
    if is_export(path):
        of_checkpoints = {
            "--features": features,
            "--predictions": predictions,
            "--ensemble-with": ensemble_with or None,
        }
        if given := [name for name, value in of_checkpoints.items() if value is not None]:
            raise ConfigError(
                f"{', '.join(given)} cannot be used with {path}",
                found="an export, which encodes the images",
                mend="Omit it; showtell caption --format jsonl writes the caption of each image",
            )
        backend = load_backend(path, encoder_weights=encoder_weights, device=device, threads=threads)
        return _evaluate_images(backend, data, split, options, meteor, tokenizer)
    import_extra("torch", extra="train")
    from showtell.checkpoints.checkpoint import load_checkpoint
    from showtell.training.device import resolve_device_config
    from showtell.training.evaluate import evaluate_checkpoint

    compute = resolve_device_config(device, "auto", threads)
    loaded = load_checkpoint(path, encoder_weights=encoder_weights, device=compute.device)
    found = evaluate_checkpoint(
        loaded,
        data=data,
        split=split,
        options=override(loaded.generation, **options),
        features=features,
        device=device,
        threads=threads,
        predictions=predictions,
        meteor=meteor,
        score_tokenizer=tokenizer,
        ensemble_with=[find_checkpoint(other) for other in ensemble_with],
    )
    return SplitEvaluation(found.texts, found.scores, found.seconds)


def _evaluate_images(
    backend: Backend,
    data: Path,
    split: str,
    options: dict[str, Any],
    meteor: MeteorScorer | None,
    tokenizer: str,
) -> SplitEvaluation:
    started = time.monotonic()
    prepared = PreparedSet.load(data)
    rows = [int(row) for row in prepared.split_rows(split)]
    merged = override(backend.generation, **options)
    check_unseen(merged, backend.datastore, prepared, rows)
    require_unchanged(prepared, np.array(rows, np.int64))
    stream = Captioner(backend).stream([prepared.image_path(row) for row in rows], **options)
    references = {prepared.key(row): prepared.captions(row) for row in rows}
    name = resolve_tokenizer(tokenizer, (caption for some in references.values() for caption in some))
    scorer = Scorer(references, meteor=meteor, tokenizer=name)
    texts: dict[str, str] = {}
    neighbours = []
    with progress_bar("caption", len(rows), unit="images") as advance:
        for row, caption in zip(rows, stream, strict=True):
            if caption.error is not None:
                what = f"{data} does not match its source any more"
                raise DataError(what, found=caption.error, mend="Prepare it again")
            texts[prepared.key(row)] = caption.text
            neighbours.append(caption.neighbours)
            advance(1, "")
    if merged.retrieval != "off":
        note_near_duplicates(prepared, rows, neighbours)
    scores = scorer.score(texts)
    return SplitEvaluation(list(texts.values()), scores, time.monotonic() - started)


def read_training_captions(prepared: PreparedSet, tokenizer: str = "ptb") -> TrainingCaptions | None:
    """Return the captions of the training split, with the tokens of scores; None without one."""
    if "train" not in prepared.manifest["splits"]:
        return None
    return TrainingCaptions(
        (text for row in prepared.split_rows("train") for text in prepared.captions(int(row))), tokenizer
    )
