"""A captioner on disk: ``config.json``, ``decoder.safetensors``, ``tokenizer.json``, a model card and, on request,
the encoder and a datastore.

Only safetensors and JSON, no pickle. The configuration holds each file's SHA-256, so that truncated or foreign files
are refused. Neighboring captioners may share one file of encoder weights
(`showtell.checkpoints.shared_encoder`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.checkpoints.config import CALIBRATION, COPY_AGAIN, FORMAT, KIND, read_config
from showtell.checkpoints.hub import CARD, CONFIG, DATASTORE, DECODER, ENCODER, FILES, TOKENIZER
from showtell.checkpoints.model_card import card_fields, model_card, strip_config_paths
from showtell.checkpoints.shared_encoder import (
    SHARED,
    check_shared,
    check_unchanged,
    find_shared,
    write_shared,
)
from showtell.config.confidence import Calibration
from showtell.config.decoders import DecoderSpec
from showtell.config.encoder import EncoderSpec
from showtell.config.generation import DecodingOptions
from showtell.data.prepared import PreparedSet
from showtell.decoders.base import BaseDecoder
from showtell.decoders.registry import build_decoder
from showtell.encoders.encoder import Encoder, build_encoder, identity_differences, save_encoder
from showtell.errors import CheckpointError, EncoderError
from showtell.retrieval.datastore import Datastore
from showtell.system.atomic import (
    atomic_directory,
    check_replaceable,
    sha256_file,
    write_summed_json,
    write_text,
)
from showtell.system.safetensors import halve_tensors, save_tensors
from showtell.system.skip_init import SkipRandomInit
from showtell.tokenizer import Tokenizer


@dataclass(frozen=True)
class Checkpoint:
    """A loaded captioner, its networks in eval mode."""

    model: CaptioningModel
    tokenizer: Tokenizer
    generation: DecodingOptions
    config: dict[str, Any]  # all of config.json
    datastore: Datastore | None = None
    calibration: Calibration | None = None

    @property
    def encoder(self) -> Encoder:
        """The model's encoder; a ValueError if it was loaded without one."""
        if self.model.encoder is None:
            raise ValueError("the checkpoint was loaded without its encoder")
        return self.model.encoder

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the encoder's regions."""
        rows, columns = self.config["encoder"]["grid"]
        return int(rows), int(columns)


def save_checkpoint(
    directory: Path,
    *,
    decoder: Mapping[str, Tensor],
    decoder_spec: DecoderSpec,
    tokenizer: Tokenizer,
    encoder: Encoder,
    include_encoder: bool,
    generation: DecodingOptions,
    about: Mapping[str, Any],
    datastore: Datastore | None = None,
) -> None:
    """Write a checkpoint's files into an empty directory (see `showtell.system.atomic.atomic_directory`).

    A fine-tuned encoder is always written; ``include_encoder`` writes a frozen one too, so that the checkpoint needs
    nothing else. ``about`` has JSON values for the configuration and the model card: recipe, data, scores.
    """
    config = {
        "kind": KIND,
        "format": FORMAT,
        "encoder": {
            "spec": encoder.spec.model_dump(mode="json"),
            "identity": encoder.identity(),
            "width": encoder.width,
            "grid": list(encoder.grid),
            "origin": encoder.origin,
        },
        "decoder": decoder_spec.model_dump(mode="json"),
        "vocabulary": tokenizer.size,
        "generation": generation.model_dump(mode="json"),
        **about,
    }
    included = encoder if include_encoder or encoder.spec.trainable else None
    _write(directory, config, decoder, tokenizer, included, datastore)


def save_portable(
    loaded: Checkpoint,
    directory: Path,
    *,
    include_encoder: bool = True,
    shared_encoder: Path | None = None,
    half: bool = False,
    card: Mapping[str, Any] | None = None,
    repository: str | None = None,
) -> None:
    """Write a loaded captioner for use elsewhere, without any path of this machine.

    Args:
        loaded: The captioner, with its encoder.
        directory: A new or empty directory, or a checkpoint, which is replaced.
        include_encoder: Write a frozen encoder too; without it, loading needs the same weights.
            A fine-tuned one is always written.
        shared_encoder: Write a frozen encoder, compressed, to this file and not to the directory. An existing file
            must hold the same weights and is not changed.
        half: Store the decoder in float16.
        card: Fields of the model card (`showtell.checkpoints.model_card.CardFields`) that replace the current ones.
        repository: For the model card: the repository on the hub, or a directory.

    Raises:
        CheckpointError: the directory holds other files, the encoder's file was replaced since it was loaded, or
            float16 cannot hold the decoder's weights.
        ConfigError: an unknown field of the model card, or an encoder that cannot be shared.
        EncoderError: the file of the shared encoder holds other weights.
        DataError: the directory cannot be written.
    """
    encoder = loaded.encoder
    check_writable(directory)
    if shared_encoder is not None:
        check_shared(encoder, loaded.config, shared_encoder, directory)
    fields = card_fields({**loaded.config.get("card", {}), **(card or {})})
    config = strip_config_paths(loaded.config)
    config["card"] = fields.model_dump(mode="json", exclude_defaults=True)
    config["encoder"] = {"origin": encoder.origin, **config["encoder"]}
    config["encoder"].pop(SHARED, None)
    decoder: Mapping[str, Tensor] = loaded.model.decoder.state_dict()
    if half:
        decoder = halve_tensors(decoder, what=f"the decoder for {directory}")
        config["dtype"] = "float16"
    if shared_encoder is not None:
        config["encoder"][SHARED] = write_shared(encoder, shared_encoder, directory)
    trainable = config["encoder"]["spec"]["trainable"]
    included = encoder if trainable or (include_encoder and shared_encoder is None) else None
    with atomic_directory(directory) as fresh:
        _write(fresh, config, decoder, loaded.tokenizer, included, loaded.datastore, repository)
        if included is not None:
            check_unchanged(included, fresh / ENCODER)


def write_config(checkpoint: Path, config: Mapping[str, Any]) -> None:
    """Replace the configuration and the model card of a checkpoint, or of a run's ``best/``; its files stay."""
    directory, _ = read_config(checkpoint)
    repository = None if checkpoint.is_absolute() or ".." in checkpoint.parts else checkpoint.as_posix()
    write_summed_json(directory / CONFIG, config)
    write_text(directory / CARD, model_card(strip_config_paths(config), repository=repository))


def check_writable(directory: Path) -> None:
    """Raise a CheckpointError unless a directory is missing, empty, or a checkpoint."""
    check_replaceable(
        directory, FILES, failed="cannot save a captioner in", error=CheckpointError, marker=CONFIG
    )


def _write(
    directory: Path,
    config: dict[str, Any],
    decoder: Mapping[str, Tensor],
    tokenizer: Tokenizer,
    encoder: Encoder | None,
    datastore: Datastore | None,
    repository: str | None = None,
) -> None:
    save_tensors(decoder, directory / DECODER)
    tokenizer.save(directory / TOKENIZER)
    if encoder is not None:
        save_encoder(encoder, directory / ENCODER)
    if datastore is not None:
        datastore.save(directory / DATASTORE)
    written = [name for name in FILES if (directory / name).exists()]
    config = {**config, "files": {name: sha256_file(directory / name) for name in written}}
    write_summed_json(directory / CONFIG, config)
    write_text(directory / CARD, model_card(strip_config_paths(config), repository=repository))


def as_trained(prepared: PreparedSet, *configs: Mapping[str, Any]) -> PreparedSet:
    """Return a set with the images held out that the training of all these captioners held out.

    Another set than that of the training is returned as it is.
    """
    return prepared.hold_out(common_holdout(configs, prepared.fingerprint))


def common_holdout(configs: Iterable[Mapping[str, Any]], fingerprint: str) -> int:
    """Return how many images of a set those captioners held out that were trained on it (``data.holdout``).

    Of several, it is the least number: its images are among those of any other.
    """
    counts = (
        config.get("recipe", {}).get("data", {}).get("holdout", 0)
        for config in configs
        if config.get("data", {}).get("fingerprint") == fingerprint
    )
    return min(counts, default=0)


def load_checkpoint(
    path: Path,
    *,
    encoder_weights: Path | None = None,
    with_encoder: bool = True,
    device: torch.device | str = "cpu",
    encoder_dtype: torch.dtype | None = None,
) -> Checkpoint:
    """Load a captioner.

    Args:
        path: A checkpoint, or a run (its ``best/`` is taken).
        encoder_weights: A local file with the encoder weights it was trained with; None: those in the checkpoint or
            shared with it, else the file the run was trained with, else the hub's.
        with_encoder: False omits the encoder, for use with cached features.
        device: The device of both networks.
        encoder_dtype: Of a frozen encoder; None: the fastest that the device supports.

    Raises:
        CheckpointError: broken, inconsistent, or weights are given for a fine-tuned encoder.
        EncoderError: the encoder's weights are missing or of another network.
    """
    directory, config = read_config(path)
    try:
        spec: DecoderSpec = TypeAdapter(DecoderSpec).validate_python(config["decoder"])
        generation = DecodingOptions.model_validate(config["generation"])
        encoder_spec = EncoderSpec.model_validate(config["encoder"]["spec"])
        tokenizer = Tokenizer.load(directory / TOKENIZER, size=config["vocabulary"])
        decoder = _load_decoder(directory / DECODER, spec, config, tokenizer.pad_id)
        datastore = Datastore.load(directory / DATASTORE) if DATASTORE in config["files"] else None
        calibration = Calibration.model_validate(config[CALIBRATION]) if CALIBRATION in config else None
    except (ValidationError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        found = " ".join(str(error).split())
        raise CheckpointError(
            f"{directory} cannot be loaded", found=found, mend="Copy the checkpoint again"
        ) from error
    encoder = None
    if with_encoder:
        encoder = _load_encoder(directory, config, encoder_spec, encoder_weights, device, encoder_dtype)
    model = CaptioningModel(decoder.to(device), encoder).eval()
    return Checkpoint(model, tokenizer, generation, config, datastore, calibration)


def _load_decoder(file: Path, spec: DecoderSpec, config: Mapping[str, Any], pad_id: int) -> BaseDecoder:
    """Return a decoder with the weights of a file, whose shapes are compared before memory is taken."""
    sizes = {
        "vocabulary": config["vocabulary"],
        "encoder_width": config["encoder"]["width"],
        "pad_id": pad_id,
    }
    with torch.device("meta"), SkipRandomInit():
        expected = {
            name: list(value.shape) for name, value in build_decoder(spec, **sizes).state_dict().items()
        }
    with safe_open(file, framework="pt") as stored:
        found = {name: stored.get_slice(name).get_shape() for name in stored.keys()}  # noqa: SIM118
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise CheckpointError(
                f"{file} does not fit the decoder",
                found=f"{name} of shape {found.get(name, 'none')}",
                expected=str(expected.get(name, "no such weights")),
                mend=COPY_AGAIN,
            )
    with SkipRandomInit():
        decoder = build_decoder(spec, **sizes)
    decoder.load_state_dict(load_file(file))
    return decoder


def _load_encoder(
    directory: Path,
    config: dict[str, Any],
    spec: EncoderSpec,
    weights: Path | None,
    device: torch.device | str,
    dtype: torch.dtype | None,
) -> Encoder:
    if spec.trainable:
        # The precision that it was trained and evaluated in.
        dtype = torch.float32
    if weights is not None and spec.trainable:
        raise CheckpointError(
            f"{weights} cannot be used with {directory}",
            found="a captioner whose checkpoint holds its fine-tuned encoder",
            mend="Omit --encoder-weights (encoder_weights=)",
        )
    if weights is None and ENCODER in config["files"]:
        spec = spec.model_copy(update={"trainable": False})
        return build_encoder(spec, weights=directory / ENCODER, device=device, dtype=dtype)
    if weights is None and SHARED in config["encoder"]:
        weights = find_shared(directory, config["encoder"][SHARED])
    try:
        encoder = build_encoder(spec, weights=weights, device=device, dtype=dtype)
    except EncoderError as error:
        if weights is not None or spec.weights is None or Path(spec.weights).is_file():
            raise
        raise EncoderError(
            f"the encoder weights of {directory} are missing",
            found=f"no file {spec.weights}",
            mend="Name their file: --encoder-weights FILE (encoder_weights= in Python)",
        ) from error
    if not spec.trainable:
        differences = identity_differences(encoder.identity(), config["encoder"]["identity"])
        if differences:
            raise EncoderError(
                f"{weights or spec.weights or spec.name}, given to {directory}, belongs to another encoder",
                found="; ".join(differences),
                mend="Name the weights it was trained with: --encoder-weights FILE (encoder_weights=)",
            )
    return encoder
