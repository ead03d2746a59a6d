"""Builds the components of a training from its setup: model, batches, evaluator."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.config.decoders import DecoderSpec
from showtell.config.recipe import Recipe
from showtell.data.batches import Batches, BatchOptions
from showtell.data.prepared import PreparedSet
from showtell.decoders.base import BaseDecoder
from showtell.decoders.registry import build_decoder
from showtell.encoders.encoder import Encoder
from showtell.retrieval.datastore import Datastore
from showtell.system.console import note
from showtell.tokenizer import Tokenizer
from showtell.training.device import DeviceConfig
from showtell.training.distributed import DistributedContext
from showtell.training.evaluator import Evaluator
from showtell.training.feature_sources import open_sources, open_training_source
from showtell.training.objectives.distillation import load_teacher
from showtell.training.rehearsal import RehearsedBatches
from showtell.training.setup import TrainingSetup
from showtell.training.warm_start import initial_datastore, load_decoder_weights


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
    train_source, dev_source = open_sources(recipe, prepared, encoder, features, train_rows, dev_rows)
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
    source = open_training_source(recipe, old, encoder, folder, rows)
    processes.wait_for_all()
    return Batches(old, rows, own.tokenizer, source, own.options)


def new_decoder(spec: DecoderSpec, tokenizer: Tokenizer, encoder: Encoder, seed: int) -> BaseDecoder:
    """Return a decoder with new weights, a function of the seed."""
    torch.manual_seed(seed)
    return build_decoder(
        spec, vocabulary=tokenizer.size, encoder_width=encoder.width, pad_id=tokenizer.pad_id
    )
