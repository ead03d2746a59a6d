"""Calibrates the confidence of a captioner on images that it was not trained on: the function behind
``showtell calibrate``.

Each half of the images is checked by a calibration of the other half; the captioner gets the one of all images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from showtell.checkpoints.checkpoint import Checkpoint, as_trained, load_checkpoint, write_config
from showtell.checkpoints.config import CALIBRATION
from showtell.config.confidence import (
    Calibration,
    CaptionWeights,
    ConfidenceWeights,
    MeasuredConfidence,
    WordWeights,
)
from showtell.config.generation import DecodingOptions, without_retrieval
from showtell.data.prepared import PreparedSet
from showtell.errors import DataError
from showtell.generation import Hypothesis
from showtell.metrics.calibration import calibration_error, reliability
from showtell.metrics.ngrams import Floats
from showtell.retrieval.confidence import Evidence, EvidenceSource, probability
from showtell.retrieval.overlap import check_unseen
from showtell.training.device import DeviceConfig, resolve_device_config
from showtell.training.evaluator import Evaluator
from showtell.training.feature_sources import open_checkpoint_source

MIN_IMAGES = 100
REGULARIZATION = 1.0
"""Of the weights of standardized features: that of scikit-learn's default."""


@dataclass(frozen=True)
class ImageSet:
    """A split of a prepared set."""

    data: Path
    split: str


@dataclass(frozen=True)
class CheckedCaption:
    """The caption of one image: what is known of it, and which of its words are right."""

    row: int  # of the prepared set
    words: list[str]
    evidence: Evidence
    right: npt.NDArray[np.bool_]  # of each word [T]
    score: float  # the captioner's own
    quality: float  # CIDEr-D of the caption, 0..10
    half: int  # 0 or 1, by the image's bytes

    @property
    def is_right(self) -> bool:
        """Whether at least half of the words with meaning are right."""
        return bool(self.right[self.evidence.has_meaning].mean() >= 0.5)


@dataclass(frozen=True)
class Measured:
    """The confidences of a set by calibrations that were not fitted on its images, and what happened."""

    name: str
    figures: MeasuredConfidence
    checked: Sequence[CheckedCaption]
    confidence: Floats  # of each caption [N]
    score: Floats  # [N]
    wrong: npt.NDArray[np.bool_]  # [N]
    quality: Floats  # [N]


def calibrate(
    checkpoint: Path,
    *,
    data: ImageSet,
    also: Sequence[ImageSet] = (),
    test: Sequence[ImageSet] = (),
    write: bool = True,
    encoder_weights: Path | None = None,
    features: Path | None = None,
    device: str = "auto",
    threads: int = 0,
) -> list[Measured]:
    """Fit and measure a calibration, store it in the checkpoint, and return what was measured of each set.

    Args:
        checkpoint: A checkpoint, or a run (its ``best/``). Its ``config.json`` and model card are rewritten.
        data: Images that the captioner was not trained on, and that its datastore does not have.
        also: More images to fit on, unlike those of training, so that being unlike them lowers the confidence.
        test: Images to measure on alone.
        write: False only measures.
        encoder_weights: A local file with the encoder's weights.
        features: The folder of feature caches; None: beside the prepared sets.
        device: As for `Captioner.load`.
        threads: As for `Captioner.load`.

    Raises:
        DataError: too few images, or images of the datastore.
        ShowtellError: checkpoint, data, weights or split cannot be used.
    """
    compute = resolve_device_config(device, threads=threads)
    loaded = load_checkpoint(checkpoint, encoder_weights=encoder_weights, device=compute.device)
    fitted, tested = [data, *also], list(test)
    options = {"off": without_retrieval(loaded.generation)}
    if loaded.generation.retrieval != "off":
        options["rerank"] = loaded.generation
    weights: dict[str, ConfidenceWeights] = {}
    measured: list[Measured] = []
    for retrieval, generation in options.items():
        sets = [_check_captions(loaded, generation, each, compute, features) for each in (*fitted, *tested)]
        if len(sets[0]) < MIN_IMAGES:
            raise DataError(
                f"{data.data} cannot calibrate a captioner",
                found=f"{len(sets[0]):,} images with captions in '{data.split}'",
                expected=f"{MIN_IMAGES} or more",
            )
        known = [each for one in sets[: len(fitted)] for each in one]
        weights[retrieval] = fit(known)
        halves = [fit([each for each in known if each.half != half]) for half in (0, 1)]
        # Of the captioner's own options, which are the last.
        measured = [
            measure(images, checked, halves if number < len(fitted) else [weights[retrieval]])
            for number, (images, checked) in enumerate(zip((*fitted, *tested), sets, strict=True))
        ]
    if write:
        figures = tuple(each.figures for each in measured)
        calibration = Calibration(rerank=weights.get("rerank"), off=weights["off"], measured=figures)
        write_config(checkpoint, {**loaded.config, CALIBRATION: calibration.model_dump(mode="json")})
    return measured


def _check_captions(
    loaded: Checkpoint,
    options: DecodingOptions,
    images: ImageSet,
    compute: DeviceConfig,
    features: Path | None,
) -> list[CheckedCaption]:
    """Caption a split, and compare the words of each caption with the image's references."""
    tokenizer = loaded.tokenizer
    prepared = as_trained(PreparedSet.load(images.data), loaded.config)
    rows = prepared.split_rows(images.split)
    check_unseen(options, loaded.datastore, prepared, rows.tolist())
    source = open_checkpoint_source(prepared, loaded, features, rows=rows)
    evaluator = Evaluator(
        prepared,
        rows,
        source,
        tokenizer,
        compute,
        preprocessing=loaded.encoder.preprocessing,
        datastore=loaded.datastore,
    )
    evaluation = evaluator.evaluate(loaded.model, options)
    datastore = loaded.datastore if options.retrieval != "off" else None
    collect, checked = EvidenceSource(tokenizer, datastore), list[CheckedCaption]()
    for start in range(0, len(rows), evaluator.batch_size):
        batch = rows[start : start + evaluator.batch_size]
        with torch.inference_mode():
            inputs = source.load(batch, np.zeros(len(batch), dtype=bool))
            pooled = loaded.model.encode(inputs.to(compute.device)).pooled.cpu().numpy()
        hypotheses = evaluation.hypotheses[start : start + evaluator.batch_size]
        for row, hypothesis, evidence in zip(batch, hypotheses, collect(pooled, hypotheses), strict=True):
            if len(evidence.has_meaning):
                quality = evaluation.scores.per_image[prepared.key(int(row))]["CIDEr-D"]
                right = _right_words(loaded, hypothesis, prepared.captions(int(row)))
                half = int(prepared.sha256(int(row)), 16) % 2
                checked.append(
                    CheckedCaption(
                        int(row),
                        tokenizer.words(hypothesis.ids),
                        evidence,
                        right,
                        hypothesis.score,
                        quality,
                        half,
                    )
                )
    return checked


def _right_words(
    loaded: Checkpoint, hypothesis: Hypothesis, references: Sequence[str]
) -> npt.NDArray[np.bool_]:
    """Return which words of a caption one of the references has: the same word, not another form of it."""
    tokenizer = loaded.tokenizer
    known = {word for text in references for word in tokenizer.words(tokenizer.encode(text))}
    return np.array([word in known for word in tokenizer.words(hypothesis.ids)], bool)


def fit(checked: Sequence[CheckedCaption]) -> ConfidenceWeights:
    """Return the weights that fit captions best, first those of words, then those of captions."""
    names = list(checked[0].evidence.words)
    columns = [np.concatenate([each.evidence.words[name] for each in checked]) for name in names]
    bias, weights = fit_logistic(np.stack(columns, axis=1), np.concatenate([each.right for each in checked]))
    words = WordWeights(bias=bias, weights=dict(zip(names, weights, strict=True)))
    features = [each.evidence.caption_features(probability(words, each.evidence.words)) for each in checked]
    # With a datastore, the log-probability of the caption adds nothing.
    kept = [name for name in features[0] if name != "log_prob" or "consensus" not in features[0]]
    table = np.array([[each[name] for name in kept] for each in features])
    bias, weights = fit_logistic(table, np.array([each.is_right for each in checked]))
    caption = CaptionWeights(bias=bias, weights=dict(zip(kept, weights, strict=True)))
    return ConfidenceWeights(words=words, caption=caption)


def fit_logistic(features: Floats, right: npt.NDArray[np.bool_]) -> tuple[float, list[float]]:
    """Return bias and weights of a logistic regression of [N, F] features, by Newton's method."""
    mean, scale = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-9)
    table = np.column_stack((np.ones(len(features)), (features - mean) / scale))
    penalty = REGULARIZATION * np.diag([0.0] + [1.0] * features.shape[1])
    weights = np.zeros(table.shape[1])
    # Where all are right or wrong, the bias has no optimum: steps are limited.
    for _ in range(25):
        predicted = 1 / (1 + np.exp(-table @ weights))
        gradient = table.T @ (predicted - right) + penalty @ weights
        curvature = (table * (predicted * (1 - predicted))[:, None]).T @ table + penalty
        step = np.linalg.solve(curvature + 1e-6 * np.eye(len(weights)), gradient)
        weights -= np.clip(step, -1, 1)
    plain = weights[1:] / scale
    return float(weights[0] - plain @ mean), plain.tolist()


def measure(
    images: ImageSet, checked: Sequence[CheckedCaption], halves: Sequence[ConfidenceWeights]
) -> Measured:
    """Return how well calibrations do; of two, the first measures the first half of the images."""
    words, captions = [], []
    for each in checked:
        weights = halves[each.half % len(halves)]
        words.append(probability(weights.words, each.evidence.words))
        features = each.evidence.caption_features(words[-1])
        captions.append(float(probability(weights.caption, features)))
    confidence, right = np.array(captions), np.array([each.is_right for each in checked])
    word_bins = reliability(np.concatenate(words), np.concatenate([each.right for each in checked]))
    caption_bins = reliability(confidence, right)
    name = images.data.resolve().name
    figures = MeasuredConfidence(
        data=name,
        split=images.split,
        images=len(checked),
        cross_fitted=len(halves) == 2,
        word_error=calibration_error(word_bins),
        caption_error=calibration_error(caption_bins),
        words=word_bins,
        captions=caption_bins,
    )
    scores, quality = (np.array([getattr(each, key) for each in checked]) for key in ("score", "quality"))
    return Measured(f"{name}, {images.split}", figures, checked, confidence, scores, ~right, quality)
