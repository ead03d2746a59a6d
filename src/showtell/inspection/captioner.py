"""What a captioner finds: images of the same scene by its pooled features, and captions that do not fit by its loss.

The margin of a caption is its mean loss on other images less its loss on its own, in nats: a caption that fits is
likelier given its own image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from showtell.checkpoints.checkpoint import Checkpoint, load_checkpoint
from showtell.checkpoints.hub import find_checkpoint
from showtell.data.batches import FeatureSource, pad_captions
from showtell.data.prepared import PreparedSet
from showtell.encoders.features import Features
from showtell.errors import ConfigError
from showtell.inference.onnx_files import is_export
from showtell.inspection.findings import Finding, rows_by_split
from showtell.inspection.similar import similar_pairs
from showtell.retrieval.datastore import Projection
from showtell.system.console import progress_bar
from showtell.training.device import resolve_device_config
from showtell.training.feature_sources import open_checkpoint_source
from showtell.training.objectives.log_likelihood import log_likelihood, teacher_forced_states

OTHERS = 8
MAX_MARGIN = 0.0
MAX_IMAGE_MARGIN = 1.0
"""Of all captions of an image together, their mean. On Flickr8k's dev split (`docs/scripts/planted_swaps.py`) both
limits find about half of what was swapped, and 0.59 and 0.86 of the findings are swapped."""
SAME_SCENE = 0.82
"""Cosine of projected pooled features. Of the 16 pairs of Flickr8k above it, 15 are of one scene, match or animal; of
the 5 between 0.80 and 0.82, three are."""
BATCH_SIZE, MAX_TOKENS = 32, 100


@dataclass(frozen=True)
class Encoded:
    """What the captioner computes of some images of a prepared set, in one pass."""

    rows: npt.NDArray[np.int64]  # the encoded images, [N]
    margins: list[npt.NDArray[np.float64]]  # of each image's captions, in nats
    vectors: npt.NDArray[np.float32]  # of all rows of the set, zeros where unknown


def encode(
    prepared: PreparedSet,
    captioner: str | Path,
    *,
    split: str | None = None,
    texts: Sequence[Sequence[str]] | None = None,
    encoder_weights: Path | None = None,
    features: Path | None = None,
    device: str = "auto",
    threads: int = 0,
) -> Encoded:
    """Encode the images of a split (None: of all) and compute the margin of each caption.

    The vectors of images in the captioner's datastore are taken from there: they need not be encoded. ``texts`` are
    captions in place of the images' own, by image.

    Raises:
        ConfigError: the captioner is an export, or there is no such split.
        ShowtellError: the captioner or an image cannot be read.
    """
    path = find_checkpoint(captioner)
    if is_export(path):
        raise ConfigError(
            "--captioner", found=f"{path}, an export", expected="a checkpoint, which has a loss"
        )
    compute = resolve_device_config(device, "fp32", threads)
    loaded = load_checkpoint(path, encoder_weights=encoder_weights, device=compute.device)
    rows = np.arange(len(prepared)) if split is None else prepared.split_rows(split)
    source = open_checkpoint_source(prepared, loaded, features, rows=rows)
    if texts is None:
        texts = [prepared.captions(int(row)) for row in rows]
    margins, pooled = caption_margins(loaded, source, rows, texts, device=compute.device)
    return Encoded(rows, margins, _vectors(prepared, loaded, rows, pooled))


def caption_margins(
    loaded: Checkpoint,
    source: FeatureSource,
    rows: npt.NDArray[np.int64],
    texts: Sequence[Sequence[str]],
    *,
    device: torch.device,
    seed: int = 0,
) -> tuple[list[npt.NDArray[np.float64]], npt.NDArray[np.float16]]:
    """Return the margin of each caption of each image, by image, and the pooled features float16 [N, D].

    The other images are drawn for each batch. A caption of a set of one image has a margin of infinity.
    """
    margins: list[npt.NDArray[np.float64]] = []
    pooled: list[npt.NDArray[np.float16]] = []
    generator = np.random.default_rng(seed)
    loaded.model.eval()

    def load(places: npt.NDArray[np.int64]) -> Features:
        inputs = source.load(rows[places], np.zeros(len(places), np.bool_))
        return loaded.model.encode(inputs.to(device))

    with torch.inference_mode(), progress_bar("comparing captions", len(rows), unit="images") as advance:
        for start in range(0, len(rows), BATCH_SIZE):
            batch = np.arange(start, min(start + BATCH_SIZE, len(rows)))
            features = load(batch)
            pooled.append(features.pooled.to(torch.float16).cpu().numpy())
            tokens = _tokens(loaded, [texts[place] for place in batch.tolist()]).to(device)  # [P, K, T]
            own = _losses(loaded, features, tokens)
            drawn = generator.choice(len(rows), min(OTHERS, len(rows)), replace=False)
            others = np.stack(
                [_losses(loaded, one, tokens.flatten(0, 1)[None])[0] for one in _each(load(drawn))]
            )
            is_other = (drawn[:, None] != batch)[:, :, None]  # [M, P, 1]
            total = (others.reshape(-1, *own.shape) * is_other).sum(axis=0)
            margin = total / is_other.sum(axis=0) - own if len(rows) > 1 else np.inf - own
            margins += [row[: len(texts[place])] for row, place in zip(margin, batch.tolist(), strict=True)]
            advance(len(batch), "")
    return margins, np.concatenate(pooled)


def _each(features: Features) -> Iterator[Features]:
    for place in range(len(features.pooled)):
        yield features[slice(place, place + 1)]


def _tokens(loaded: Checkpoint, texts: Sequence[Sequence[str]]) -> Tensor:
    """Return ``<bos>``, tokens and ``<eos>`` of captions, int64 [P, K, T], padded; long captions are cut."""
    tokenizer = loaded.tokenizer
    ids = [
        [[tokenizer.bos_id, *tokenizer.encode(text)[:MAX_TOKENS], tokenizer.eos_id] for text in group]
        for group in texts
    ]
    return pad_captions(ids, tokenizer.pad_id)


def _losses(loaded: Checkpoint, features: Features, tokens: Tensor) -> npt.NDArray[np.float64]:
    """Return the loss of each caption, summed over its tokens, in nats: float64 [P, K]."""
    hidden, targets, real = teacher_forced_states(loaded.model, features, tokens)
    losses = torch.zeros(real.shape, device=tokens.device)
    losses[real] = -log_likelihood(loaded.model.decoder.project(hidden), targets)
    return losses.double().sum(dim=2).cpu().numpy()


def _vectors(
    prepared: PreparedSet, loaded: Checkpoint, rows: npt.NDArray[np.int64], pooled: npt.NDArray[Any]
) -> npt.NDArray[np.float32]:
    store = loaded.datastore
    projection = Projection.fit(pooled) if store is None else store.projection
    projected = projection(pooled)
    vectors = np.zeros((len(prepared), projected.shape[1]), np.float32)
    if store is not None:
        places = {digest.tobytes(): place for place, digest in enumerate(store.digests)}
        for row in range(len(prepared)):
            if (place := places.get(bytes.fromhex(prepared.sha256(row)))) is not None:
                vectors[row] = store.unit_vectors[place]
    vectors[rows] = projected
    return vectors


def find_same_scenes(prepared: PreparedSet, encoded: Encoded) -> Iterator[Finding]:
    """Yield images whose pooled features are nearly those of an image before them."""
    for row, other, cosine, crosses in similar_pairs(encoded.vectors, rows_by_split(prepared), SAME_SCENE):
        kind = "leaked-scene" if crosses else "same-scene"
        yield Finding(kind, row, f"cosine {cosine:.2f} of pooled features", cosine, other=other)


def find_mismatches(prepared: PreparedSet, encoded: Encoded) -> Iterator[Finding]:
    """Yield captions that are no likelier given their own image than given others, and images of such captions."""
    for row, margins in zip(encoded.rows.tolist(), encoded.margins, strict=True):
        texts = prepared.captions(row)
        mean = float(margins.mean())
        if len(texts) > 1 and mean <= MAX_IMAGE_MARGIN:
            reason = f"its {len(texts)} captions have a mean margin of {mean:.1f} nats"
            yield Finding("mismatched-image", row, reason, -mean)
        for text, margin in zip(texts, margins.tolist(), strict=True):
            if margin <= MAX_MARGIN:
                reason = f"a margin of {margin:.1f} nats"
                yield Finding("mismatch", row, reason, -margin, text)
