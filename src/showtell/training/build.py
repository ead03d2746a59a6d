"""Builds the components of a training from its setup: features, batches, model."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.config.decoders import DecoderSpec
from showtell.config.encoder import EncoderSpec
from showtell.config.preprocessing import CornerCrop
from showtell.config.recipe import Recipe
from showtell.data.batches import Batches, BatchOptions, FeatureSource
from showtell.data.changes import require_unchanged
from showtell.data.feature_cache import FeatureCache
from showtell.data.features import extract_features, verify_stride_layout
from showtell.data.prepared import PreparedSet
from showtell.data.views import CORNERS, CachedFeatures, ImageSource, WindowedFeatureSource
from showtell.decoders.base import BaseDecoder
from showtell.decoders.registry import build_decoder
from showtell.encoders.encoder import Encoder, build_encoder
from showtell.retrieval.datastore import Datastore
from showtell.system.console import note
from showtell.system.reading import sha256_json
from showtell.tokenizer import Tokenizer
from showtell.training.device import DeviceConfig
from showtell.training.distributed import DistributedContext
from showtell.training.evaluator import Evaluator
from showtell.training.objectives.distillation import load_teacher
from showtell.training.rehearsal import RehearsedBatches
from showtell.training.setup import TrainingSetup
from showtell.training.warm_start import initial_datastore, load_decoder_weights

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Components:
    """The components of a training."""

    compute: DeviceConfig
    prepared: PreparedSet
    encoder: Encoder
    tokenizer: Tokenizer
    model: CaptioningModel
    batches: Batches
    rehearsal: Batches | None
    dev: Batches
    evaluator: Evaluator
    datastore: Datastore | None  # of the captioner to start from
    teachers: Sequence[Sequence[CaptioningModel]]  # by phase
    processes: DistributedContext
    features: Path | None  # the folder of feature caches; None: beside the prepared set

    @property
    def train_batches(self) -> Batches | RehearsedBatches:
        """The batches to train on, with those of the rehearsed set between them."""
        return self.batches if self.rehearsal is None else RehearsedBatches(self.batches, self.rehearsal)


def build_components(
    setup: TrainingSetup, compute: DeviceConfig, features: Path | None, processes: DistributedContext
) -> Components:
    """Build all components; all processes extract missing features together.

    Raises:
        ConfigError: a split is missing, or ``training.init_from`` or a teacher does not fit.
        CheckpointError: a teacher is not a checkpoint.
        DataError: the features cannot be cached, or images have changed since the set was prepared.
    """
    recipe, prepared, encoder, tokenizer = setup.recipe, setup.prepared, setup.encoder, setup.tokenizer
    training = recipe.training
    decoder = new_decoder(recipe.decoder, tokenizer, encoder, training.seed)
    if setup.initial is not None:
        load_decoder_weights(decoder, tokenizer, setup.initial, training.init_from)
    teachers = [
        [load_teacher(Path(path), tokenizer, encoder, compute.device) for path in phase.teachers]
        for phase in recipe.objective
    ]
    encodes = recipe.encoder.trainable or recipe.data.crop_for("random_crop") is not None
    model = CaptioningModel(decoder, encoder if encodes else None).to(compute.device)
    seed, validation = training.seed, recipe.validation
    train_rows = prepared.split_rows("train", subset=recipe.data.subset, seed=seed)
    dev_rows = prepared.split_rows(validation.split, subset=validation.subset, seed=seed)
    if processes.is_main_process and recipe.data.subset and not validation.subset:
        note(
            f"{len(train_rows) + len(dev_rows):,} images to encode: {len(train_rows):,} for training (data.subset) "
            f"and {len(dev_rows):,} for validation, which validation.subset reduces"
        )
    train_source, dev_source = _open_sources(recipe, prepared, encoder, features, train_rows, dev_rows)
    processes.wait_for_all()
    options = BatchOptions(
        training.batch_size,
        recipe.data.captions_per_image,
        recipe.data.max_tokens,
        recipe.data.flip,
        seed,
        processes.rank,
        processes.world_size,
    )
    dev_options = replace(options, flip=False, captions_per_image=0)
    batches = Batches(prepared, train_rows, tokenizer, train_source, options)
    return Components(
        compute=compute,
        prepared=prepared,
        encoder=encoder,
        tokenizer=tokenizer,
        model=model,
        batches=batches,
        rehearsal=_rehearsal(recipe, encoder, features, batches, processes),
        dev=Batches(prepared, dev_rows, tokenizer, dev_source, dev_options),
        evaluator=Evaluator(
            prepared,
            dev_rows,
            dev_source,
            tokenizer,
            compute,
            validation.eval_batch_size,
            processes,
            score_tokenizer=validation.tokenizer,
            preprocessing=encoder.preprocessing,
        ),
        datastore=initial_datastore(setup.initial, encoder),
        teachers=teachers,
        processes=processes,
        features=features,
    )


def _rehearsal(
    recipe: Recipe, encoder: Encoder, features: Path | None, own: Batches, processes: DistributedContext
) -> Batches | None:
    """Return the batches of the rehearsed set, of as many images as the training has room for.

    Their features are cached beside that set, or in a folder of ``features``.
    """
    if recipe.data.rehearse is None:
        return None
    old = PreparedSet.load(Path(recipe.data.rehearse))
    images = recipe.objective[0].epochs * len(own) * own.options.batch_size
    rows = old.split_rows("train", subset=images, seed=own.options.seed)
    folder = None if features is None else features / f"rehearsed-{old.fingerprint[:8]}"
    source = _open_training_source(recipe, old, encoder, folder, rows)
    processes.wait_for_all()
    return Batches(old, rows, own.tokenizer, source, own.options)


def new_decoder(spec: DecoderSpec, tokenizer: Tokenizer, encoder: Encoder, seed: int) -> BaseDecoder:
    """Return a decoder with new weights, a function of the seed."""
    torch.manual_seed(seed)
    return build_decoder(
        spec, vocabulary=tokenizer.size, encoder_width=encoder.width, pad_id=tokenizer.pad_id
    )


def _open_sources(
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
        both = _open_training_source(recipe, prepared, encoder, features, train_rows, dev_rows)
        return both, both
    train_source = _open_training_source(recipe, prepared, encoder, features, train_rows)
    # Validation always has the same view, which is worth caching.
    regions = recipe.decoder.reads_regions
    return train_source, open_feature_source(prepared, encoder, features, rows=dev_rows, regions=regions)


def _open_training_source(
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
    """Return the cache of a view, and that of its horizontal flip where it is needed."""
    folder = features or prepared.directory.with_name(f"{prepared.directory.name}-features")

    def open_cache(wanted: Rows, **view: object) -> FeatureCache:
        view_encoder = copy.copy(encoder)
        view_encoder.preprocessing = encoder.preprocessing.model_copy(update=view)
        identity = view_encoder.identity()
        directory = folder / f"{identity['name'].replace(':', '-')}-{sha256_json(identity)[:8]}"
        if not regions and not directory.exists():
            directory = directory.with_name(f"{directory.name}-pooled")
        cache = extract_features(prepared, view_encoder, directory, rows=wanted, regions=regions)
        if not regions:
            # The cache of one view may have regions and that of another none.
            cache.regions = cache.regions[:, :0]
        return cache

    if flipped is None:
        return [open_cache(rows, **view)]
    return [open_cache(rows, **view), open_cache(flipped, **view, mirror=True)]
