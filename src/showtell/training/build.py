"""What a recipe, a prepared set and a run's directory become: encoder, vocabulary, memory, batches, model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.config.preprocessing import CornerCrop
from showtell.config.recipe import CrossEntropy, Recipe
from showtell.data.batches import Batches, BatchOptions, FeatureSource
from showtell.data.features import (
    AnyCache,
    FeatureCache,
    FlippedFeatureCache,
    extract_features,
    verify_stride_layout,
)
from showtell.data.prepared import PreparedSet
from showtell.data.views import CORNERS, CachedFeatures, ImageSource, WindowedFeatureSource
from showtell.decoders.registry import AnyDecoder, build_decoder
from showtell.encoders.encoder import Encoder, build_encoder
from showtell.system.atomic import sha256_json
from showtell.system.console import note
from showtell.tokenizer import Tokenizer
from showtell.training.device import DeviceConfig, resolve_device_config
from showtell.training.distillation import load_teacher
from showtell.training.distributed import DistributedContext
from showtell.training.evaluator import Evaluator
from showtell.training.seeding import derive_seed
from showtell.training.warm_start import load_decoder_weights, load_init_checkpoint


@dataclass(frozen=True)
class Components:
    """All that the loop needs, built; the teachers phase by phase."""

    compute: DeviceConfig
    prepared: PreparedSet
    encoder: Encoder
    tokenizer: Tokenizer
    model: CaptioningModel
    batches: Batches
    dev: Batches
    evaluator: Evaluator
    teachers: Sequence[Sequence[CaptioningModel]]
    processes: DistributedContext


def build_encoder_of(recipe: Recipe, encoder_weights: Path | None, compute: DeviceConfig) -> Encoder:
    """Build a recipe's encoder; a trainable one starts from the recipe's seed."""
    torch.manual_seed(recipe.training.seed)
    return build_encoder(recipe.encoder, weights=encoder_weights, device=compute.device)


def build_components(
    recipe: Recipe,
    prepared: PreparedSet,
    encoder: Encoder,
    compute: DeviceConfig,
    features: Path | None,
    processes: DistributedContext,
) -> Components:
    """Build everything else; features that are not yet kept are extracted, by one process while the others wait.

    Raises:
        ConfigError: a split is not there, or ``training.init_from`` or a teacher does not fit.
        CheckpointError: ``training.init_from`` or a teacher is no captioner.
        DataError: the features cannot be kept.
    """
    start = load_init_checkpoint(recipe, encoder.width)
    tokenizer = fit_tokenizer(recipe, prepared) if start is None else start.tokenizer
    decoder = new_decoder(recipe, tokenizer, encoder)
    if start is not None:
        load_decoder_weights(decoder, start, recipe)
    teachers = [
        [load_teacher(Path(path), tokenizer, encoder, compute.device) for path in phase.teachers]
        if isinstance(phase, CrossEntropy)
        else []
        for phase in recipe.objective
    ]
    looks = recipe.encoder.trainable or recipe.data.live_crop is not None
    model = CaptioningModel(decoder, encoder if looks else None).to(compute.device)
    seed = recipe.training.seed
    trained = prepared.split_rows("train", subset=recipe.data.subset, seed=seed)
    judged = prepared.split_rows(recipe.validation.split, subset=recipe.validation.subset, seed=seed)
    if processes.is_main_process and recipe.data.subset and not recipe.validation.subset:
        note(
            f"{len(trained) + len(judged):,} images to encode: {len(trained):,} for training (data.subset) and "
            f"{len(judged):,} for validation, which validation.subset reduces"
        )
    with processes.main_process_first():
        shown, seen = _open_views(recipe, prepared, encoder, features, trained, judged)
    options = BatchOptions(
        recipe.training.batch_size,
        recipe.data.captions_per_image,
        recipe.data.max_tokens,
        recipe.data.flip,
        recipe.training.seed,
        processes.rank,
        processes.count,
    )
    return Components(
        compute=compute,
        prepared=prepared,
        encoder=encoder,
        tokenizer=tokenizer,
        model=model,
        batches=Batches(prepared, trained, tokenizer, shown, options),
        dev=Batches(prepared, judged, tokenizer, seen, replace(options, flip=False, captions_per_image=0)),
        evaluator=Evaluator(
            prepared,
            recipe.validation.split,
            seen,
            tokenizer,
            compute,
            pictures=recipe.validation.eval_batch_size,
            rows=judged,
            processes=processes,
        ),
        teachers=teachers,
        processes=processes,
    )


def _open_views(
    recipe: Recipe,
    prepared: PreparedSet,
    encoder: Encoder,
    features: Path | None,
    trained: npt.NDArray[np.int64],
    judged: npt.NDArray[np.int64],
) -> tuple[FeatureSource, FeatureSource]:
    """Return where the memory of the rows that are trained on comes from, and that of those that are judged."""
    live, share, regions = recipe.data.live_crop, recipe.data.corner_share, recipe.decoder.reads_regions
    least = recipe.data.least_window
    if live is not None:
        # What is judged is the same view every time, and so worth keeping.
        kept = open_feature_source(prepared, encoder, features, rows=judged, regions=regions)
        return ImageSource(prepared, encoder.preprocessing, crop=live), kept
    if least is not None:
        kept = open_feature_source(prepared, encoder, features, rows=judged, regions=regions)
        finest = build_encoder(
            encoder.spec.model_copy(update={"region_grid": None}),
            weights=encoder.weights,
            device=encoder.mean.device,
            dtype=encoder.dtype,
        )
        views = _open_pair(prepared, finest, features, trained, trained if recipe.data.flip else None)
        return WindowedFeatureSource(views, grid=encoder.grid, crop=least), kept
    both = open_feature_source(
        prepared,
        encoder,
        features,
        rows=np.union1d(trained, judged),
        mirrored=trained if recipe.data.flip else None,
        corners=None if share is None else (share, trained),
        regions=regions,
    )
    return both, both


def new_decoder(recipe: Recipe, tokenizer: Tokenizer, encoder: Encoder, phase: int = 0) -> AnyDecoder:
    """Return a recipe's decoder with new weights: a function of the recipe's seed and the phase they are for."""
    seed = recipe.training.seed
    if phase:
        seed = derive_seed(seed, phase)
    torch.manual_seed(seed)
    return build_decoder(
        recipe.decoder, vocabulary=tokenizer.size, encoder_width=encoder.width, pad_id=tokenizer.pad_id
    )


def fit_tokenizer(recipe: Recipe, prepared: PreparedSet) -> Tokenizer:
    """Fit the vocabulary on the captions of the training split alone."""
    captions = (text for row in prepared.split_rows("train") for text in prepared.captions(int(row)))
    options = recipe.tokenizer
    return Tokenizer.fit(captions, kind=options.kind, min_count=options.min_count, max_size=options.max_size)


def open_feature_source(
    prepared: PreparedSet,
    encoder: Encoder,
    features: Path | None,
    *,
    rows: npt.NDArray[np.int64],
    mirrored: npt.NDArray[np.int64] | None = None,
    corners: tuple[float, npt.NDArray[np.int64]] | None = None,
    regions: bool = True,
) -> FeatureSource:
    """Return live pictures for a trainable encoder, kept features otherwise; missing ones are extracted.

    Args:
        prepared: The set.
        encoder: Looks.
        features: The folder that holds caches, one for each encoder and view; None: beside the prepared set.
        rows: Which pictures are wanted, ascending.
        mirrored: Of which the mirrored view is wanted too; None: of none.
        corners: The share of the view that its four corner windows show, and of which pictures they are wanted too
            (mirrored ones as well, where there are such); None: of none.
        regions: Whether the decoder reads regions, or pooled vectors alone.
    """
    if encoder.spec.trainable:
        verify_stride_layout(prepared, encoder, rows)
        return ImageSource(prepared, encoder.preprocessing)
    views = [_open_pair(prepared, encoder, features, rows, mirrored, regions=regions)]
    if corners is not None:
        share, wanted = corners
        for down, right in CORNERS:
            corner = CornerCrop(down=down, right=right, share=share)
            pair = _open_pair(prepared, encoder, features, wanted, mirrored, regions=regions, corner=corner)
            views.append(pair)
    return CachedFeatures(*views)


def _open_pair(
    prepared: PreparedSet,
    encoder: Encoder,
    features: Path | None,
    rows: npt.NDArray[np.int64],
    mirrored: npt.NDArray[np.int64] | None,
    *,
    regions: bool = True,
    **view: object,
) -> list[AnyCache]:
    """Return the cache of a view of some rows, and that of the mirrored view where one is wanted."""
    folder = features or prepared.directory.with_name(f"{prepared.directory.name}-features")

    def cache(wanted: npt.NDArray[np.int64], **view: object) -> FeatureCache:
        looking = copy.copy(encoder)
        looking.preprocessing = encoder.preprocessing.model_copy(update=view)
        place = folder / cache_name(looking)
        if not regions and not place.exists():
            place = folder / f"{cache_name(looking)}-pooled"
        return extract_features(prepared, looking, place, rows=wanted, regions=regions)

    if mirrored is None:
        return [cache(rows, **view)]
    if encoder.spec.flip_average:
        upright = cache(np.union1d(rows, mirrored), **view)
        return [upright, FlippedFeatureCache(upright)]
    return [cache(rows, **view), cache(mirrored, **view, mirror=True)]


def cache_name(encoder: Encoder) -> str:
    """Return the name of an encoder's cache: no two encoders share one."""
    identity = encoder.identity()
    return f"{identity['name'].replace(':', '-')}-{sha256_json(identity)[:8]}"


def resolve_device(recipe: Recipe, device: str) -> DeviceConfig:
    """Resolve the recipe's precision and threads on a device."""
    return resolve_device_config(device, recipe.training.precision, recipe.training.threads)
