"""Opens the encoder inputs of a training and of a validation: cached features of each view, or the images themselves.

A view is an image, its horizontal flip, or a corner crop of either; each has a feature cache of its own.
"""

import copy
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from showtell.checkpoints.checkpoint import Checkpoint
from showtell.config.encoder import EncoderSpec
from showtell.config.preprocessing import CornerCrop
from showtell.config.recipe import Recipe
from showtell.data.batches import FeatureSource
from showtell.data.changes import require_unchanged
from showtell.data.feature_cache import FeatureCache
from showtell.data.features import extract_features, verify_stride_layout
from showtell.data.prepared import PreparedSet
from showtell.data.views import CORNERS, CachedFeatures, ImageSource, WindowedFeatureSource
from showtell.encoders.encoder import Encoder, build_encoder
from showtell.system.reading import sha256_json

Rows = npt.NDArray[np.int64]


def open_sources(
    recipe: Recipe,
    prepared: PreparedSet,
    encoder: Encoder,
    features: Path | None,
    train_rows: Rows,
    dev_rows: Rows,
) -> tuple[FeatureSource, FeatureSource]:
    """Return the sources of the training and of the validation images."""
    data, averages = recipe.data, encoder.spec.flip_average
    if data.crop_for("random_crop") is None and data.crop_for("feature_windows") is None and not averages:
        both = open_training_source(recipe, prepared, encoder, features, train_rows, dev_rows)
        return both, both
    train_source = open_training_source(recipe, prepared, encoder, features, train_rows)
    # Validation always has the same view, which is worth caching.
    regions = recipe.decoder.reads_regions
    return train_source, open_feature_source(prepared, encoder, features, rows=dev_rows, regions=regions)


def open_training_source(
    recipe: Recipe,
    prepared: PreparedSet,
    encoder: Encoder,
    features: Path | None,
    rows: Rows,
    dev_rows: Rows | None = None,
) -> FeatureSource:
    """Return the source of training images, and of validation images that have the same views.

    An image and its flip are two views in training; only validation and captions average them.
    """
    data = recipe.data
    flipped = rows if data.flip else None
    single = encoder.spec.model_copy(update={"flip_average": False})
    if (crop := data.crop_for("random_crop")) is not None:
        require_unchanged(prepared, rows)
        return ImageSource(prepared, encoder.preprocessing, crop=crop)
    if (crop := data.crop_for("feature_windows")) is not None:
        full_map_encoder = _with_spec(encoder, single.model_copy(update={"region_grid": None}))
        maps = _open_caches(prepared, full_map_encoder, features, rows, flipped, regions=True)
        return WindowedFeatureSource(maps, grid=encoder.grid, crop=crop)
    crop = data.crop_for("corner_crops")
    return open_feature_source(
        prepared,
        _with_spec(encoder, single),
        features,
        rows=rows if dev_rows is None else np.union1d(rows, dev_rows),
        flipped=flipped,
        corners=None if crop is None else (crop, rows),
        regions=recipe.decoder.reads_regions,
    )


def _with_spec(encoder: Encoder, spec: EncoderSpec) -> Encoder:
    """Return an encoder with the same weights and another way to make features of them."""
    if spec == encoder.spec:
        return encoder
    return build_encoder(spec, weights=encoder.weights, device=encoder.mean.device, dtype=encoder.dtype)


def open_checkpoint_source(
    prepared: PreparedSet, loaded: Checkpoint, features: Path | None, *, rows: Rows
) -> FeatureSource:
    """Return what a captioner reads of the images in ``rows``; see `open_feature_source`."""
    regions = loaded.model.decoder.spec.reads_regions
    return open_feature_source(prepared, loaded.encoder, features, rows=rows, regions=regions)


def open_feature_source(
    prepared: PreparedSet,
    encoder: Encoder,
    features: Path | None,
    *,
    rows: Rows,
    flipped: Rows | None = None,
    corners: tuple[float, Rows] | None = None,
    regions: bool = True,
) -> FeatureSource:
    """Return the images for a trainable encoder, cached features otherwise; missing features are extracted.

    Args:
        features: Folder of feature caches, one per encoder and view; None: beside the prepared set.
        rows: Images to provide, ascending.
        flipped: Images whose horizontal flip is needed too.
        corners: Size of the four corner crops as a fraction of the view, and the images that need them (flipped too,
            where flips are needed).
        regions: Whether the decoder reads regions, or pooled vectors only.
    """
    if encoder.spec.trainable:
        require_unchanged(prepared, rows)
        verify_stride_layout(prepared, encoder, rows)
        return ImageSource(prepared, encoder.preprocessing)
    open_view = partial(_open_caches, prepared, encoder, features, flipped=flipped, regions=regions)
    views = [open_view(rows)]
    if corners is not None:
        size, corner_rows = corners
        crops = [CornerCrop(down=down, right=right, fraction=size) for down, right in CORNERS]
        views += [open_view(corner_rows, corner=crop) for crop in crops]
    return CachedFeatures(*views)


def _open_caches(
    prepared: PreparedSet,
    encoder: Encoder,
    features: Path | None,
    rows: Rows,
    flipped: Rows | None,
    *,
    regions: bool,
    **view: object,
) -> list[FeatureCache]:
    """Return the cache of a view (fields of `Preprocessing`), and that of its horizontal flip where it is needed."""
    open_cache = partial(_open_cache, prepared, encoder, features, regions=regions)
    caches = [open_cache(rows, view)]
    return caches if flipped is None else [*caches, open_cache(flipped, {**view, "mirror": True})]


def _open_cache(
    prepared: PreparedSet,
    encoder: Encoder,
    features: Path | None,
    rows: Rows,
    view: Mapping[str, object],
    *,
    regions: bool,
) -> FeatureCache:
    folder = features or prepared.directory.with_name(f"{prepared.directory.name}-features")
    view_encoder = copy.copy(encoder)
    view_encoder.preprocessing = encoder.preprocessing.model_copy(update=view)
    identity = view_encoder.identity()
    directory = folder / f"{identity['name'].replace(':', '-')}-{sha256_json(identity)[:8]}"
    if not regions and not directory.exists():
        directory = directory.with_name(f"{directory.name}-pooled")
    cache = extract_features(prepared, view_encoder, directory, rows=rows, regions=regions)
    if not regions:
        # The cache of one view may have regions and that of another none.
        cache.regions = cache.regions[:, :0]
    return cache
