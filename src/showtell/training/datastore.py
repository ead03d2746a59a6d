"""Makes the datastore of a captioner from the images and captions of a prepared set."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.data.prepared import PreparedSet
from showtell.encoders.encoder import Encoder
from showtell.errors import DataError
from showtell.retrieval.datastore import Datastore, Projection
from showtell.system.console import note
from showtell.tokenizer import Tokenizer
from showtell.training.feature_sources import open_feature_source

BATCH_SIZE = 64
Rows = npt.NDArray[np.int64]


def make_datastore(
    prepared: PreparedSet,
    rows: Rows,
    *,
    model: CaptioningModel,
    encoder: Encoder,
    tokenizer: Tokenizer,
    device: torch.device,
    features: Path | None = None,
    projection: Projection | None = None,
) -> Datastore:
    """Return the datastore of images, int64 [N] rows of a prepared set; missing features are extracted.

    Args:
        model: Encodes batches of features, or of images if its encoder is trainable.
        encoder: The encoder of the features.
        tokenizer: Splits the captions into words.
        features: The folder of feature caches; None: beside the prepared set.
        projection: That of the datastore to add these images to; None: fitted on them.

    Raises:
        DataError: no image has a caption of words, or features cannot be extracted.
    """
    captions = [[tokenizer.split(text) for text in prepared.captions(int(row))] for row in rows]
    captions = [[tokens for tokens in several if tokens] for several in captions]
    kept = np.flatnonzero([len(several) > 0 for several in captions])
    if not len(kept):
        raise DataError(
            "there is nothing to index",
            found=f"{len(rows)} images, none with a caption of words",
            mend="Write what they show, and prepare the set again",
        )
    if left_out := len(rows) - len(kept):
        note(f"images left out, without a caption of words: {left_out:,}")
    rows, captions = rows[kept], [captions[place] for place in kept]
    source = open_feature_source(prepared, encoder, features, rows=rows, regions=False)
    parts = []
    with torch.inference_mode():
        for start in range(0, len(rows), BATCH_SIZE):
            batch = rows[start : start + BATCH_SIZE]
            inputs = source.load(batch, np.zeros(len(batch), dtype=bool))
            parts.append(model.encode(inputs.to(device)).pooled.cpu().half().numpy())
    pooled = np.concatenate(parts)  # [N, D]
    return Datastore.of(
        projection or Projection.fit(pooled),
        pooled,
        [_portable(prepared.key(int(row))) for row in rows],
        [prepared.sha256(int(row)) for row in rows],
        captions,
    )


def _portable(key: str) -> str:
    """Return an image's name without the folders of this machine, if they are in it."""
    return Path(key).name if Path(key).is_absolute() else key
