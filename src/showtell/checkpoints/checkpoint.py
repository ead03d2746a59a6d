"""A captioner on disk: ``config.json``, ``decoder.safetensors``, ``tokenizer.json``, a model card, and on
request the encoder. safetensors and JSON alone, no pickle; every file's SHA-256 stands in the configuration, so
that one that was cut short or belongs to another checkpoint is refused. Captioners that lie side by side may share
one file of encoder weights (`showtell.checkpoints.shared_encoder`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.checkpoints.hub import CARD, CONFIG, DECODER, ENCODER, FILES, TOKENIZER
from showtell.checkpoints.model_card import card_fields, model_card
from showtell.checkpoints.portable import strip_config_paths
from showtell.checkpoints.shared_encoder import (
    SHARED,
    check_shared,
    check_unchanged,
    find_shared,
    share_encoder,
)
from showtell.config.decoders import DecoderSpec
from showtell.config.encoder import EncoderSpec
from showtell.config.generation import DecodingOptions
from showtell.decoders.registry import build_decoder
from showtell.encoders.encoder import Encoder, build_encoder, check_identity, save_encoder
from showtell.errors import CheckpointError, EncoderError
from showtell.system.atomic import (
    atomic_directory,
    resolve_swapped,
    sha256_file,
    write_json,
    write_text,
)
from showtell.system.safetensors import halve_tensors, save_tensors
from showtell.tokenizer import Tokenizer

KIND, FORMAT = "showtell checkpoint", 2


@dataclass(frozen=True)
class Checkpoint:
    """A captioner, loaded.

    Attributes:
        model: Encoder (None where features come from a cache) and decoder, in eval mode.
        tokenizer: Its vocabulary.
        generation: How it decodes unless told otherwise.
        config: All of ``config.json``.
    """

    model: CaptioningModel
    tokenizer: Tokenizer
    generation: DecodingOptions
    config: dict[str, Any]

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
) -> None:
    """Write a checkpoint's files into an empty directory (see `showtell.system.atomic.atomic_directory`).

    Args:
        directory: Where.
        decoder: The decoder's weights by name.
        decoder_spec: Its sizes.
        tokenizer: Its vocabulary.
        encoder: What it looks through; a trained one is always written along.
        include_encoder: Write a frozen one too, so that the checkpoint needs nothing else.
        generation: How it decodes unless told otherwise.
        about: JSON values kept beside: recipe, data, scores; the model card is made from them.
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
    carried = encoder if include_encoder or encoder.spec.trainable else None
    _write(directory, config, decoder, tokenizer, carried)


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
    """Write a loaded captioner so that it can be taken elsewhere: no path of this machine is in it.

    Args:
        loaded: The captioner, with its encoder.
        directory: A place that is new or empty, or holds a checkpoint and nothing else, which is replaced.
        include_encoder: Write a frozen encoder along; without it, who loads this must have the same weights. One
            that was trained along is always written.
        shared_encoder: Keep a frozen encoder in this file, in compact form, in place of in the directory: once for
            several captioners. A file that is there already must hold the same weights, and is left as it is.
        half: Round the decoder to half floats, which halves its file.
        card: Fields of the model card (`showtell.checkpoints.model_card.CardFields`) that replace those kept from before.
        repository: Where it will lie, for the model card: on the hub, or a directory.

    Raises:
        CheckpointError: other files are in that place, the encoder's file was replaced since it was loaded, or the
            decoder has numbers that half floats cannot hold.
        ConfigError: an unknown field of the model card, or a shared encoder that cannot be one.
        EncoderError: the file of the shared encoder holds other weights.
        DataError: the place cannot be written.
    """
    encoder = loaded.model.encoder
    if encoder is None:
        raise ValueError("a checkpoint loaded without its encoder cannot be saved")
    _check_place(directory)
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
        config["rounded"] = "float16"
    if shared_encoder is not None:
        config["encoder"][SHARED] = share_encoder(encoder, shared_encoder, directory)
    trained = config["encoder"]["spec"]["trainable"]
    carried = encoder if trained or (include_encoder and shared_encoder is None) else None
    with atomic_directory(directory) as fresh:
        _write(fresh, config, decoder, loaded.tokenizer, carried, repository)
        if carried is not None:
            check_unchanged(carried, fresh / ENCODER)


def _check_place(directory: Path) -> None:
    """Refuse a place that holds anything but a checkpoint."""
    names = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
    foreign = sorted(names - set(FILES)) or (sorted(names) if CONFIG not in names else [])
    if foreign or (directory.exists() and not directory.is_dir()):
        raise CheckpointError(
            f"cannot save a captioner in {directory}",
            found=f"other files ({foreign[0]})" if foreign else "a file",
            mend="Name an empty or new directory",
        )


def _write(
    directory: Path,
    config: dict[str, Any],
    decoder: Mapping[str, Tensor],
    tokenizer: Tokenizer,
    encoder: Encoder | None,
    repository: str | None = None,
) -> None:
    """Write all files; the configuration gets the sums of the others."""
    save_tensors(decoder, directory / DECODER)
    tokenizer.save(directory / TOKENIZER)
    if encoder is not None:
        save_encoder(encoder, directory / ENCODER)
    names = (DECODER, TOKENIZER, *((ENCODER,) if encoder is not None else ()))
    config = {**config, "files": {name: sha256_file(directory / name) for name in names}}
    write_json(directory / CONFIG, config)
    write_text(directory / CARD, model_card(strip_config_paths(config), repository=repository))


def read_config(path: Path) -> tuple[Path, dict[str, Any]]:
    """Return the checkpoint directory meant by ``path`` (a run means its ``best/``) and its configuration.

    Nothing on the disk is changed, since a trainer may be writing there; if it puts a new checkpoint in the place of
    the one that is being read, the new one is read.

    Raises:
        CheckpointError: not a checkpoint, of another format, or one of its files is missing, cut or foreign.
    """
    directory = _directory_of(path)
    before = _number_of(directory)
    try:
        return directory, _read_config(path, directory)
    except CheckpointError:
        again = _directory_of(path)
        if _number_of(again) == before:
            raise
        return again, _read_config(path, again)


def _directory_of(path: Path) -> Path:
    best = resolve_swapped(path / "best")
    return best if (best / CONFIG).exists() else resolve_swapped(path)


def _number_of(directory: Path) -> int | None:
    """Return what tells a directory from another one that takes its place."""
    return directory.stat().st_ino if directory.exists() else None


def _read_config(path: Path, directory: Path) -> dict[str, Any]:
    try:
        config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
        kind, version = config["kind"], config["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        missing = not (directory / CONFIG).exists()
        raise CheckpointError(
            f"{path} is not a checkpoint",
            found=f"no {CONFIG}" if missing else f"a broken {CONFIG} ({error})",
            mend="Name a run directory, or its best/ or last/",
        ) from error
    if (kind, version) != (KIND, FORMAT):
        raise CheckpointError(
            f"{directory} cannot be used",
            found=f"{kind}, format {version}",
            expected=f"{KIND}, format {FORMAT}",
            mend="Train it again, or bundle it again"
            if version == 1
            else "Use the version of showtell that wrote it",
        )
    files = config.get("files")
    if not isinstance(files, dict) or not {DECODER, TOKENIZER} <= files.keys():
        raise CheckpointError(
            f"{directory} cannot be used",
            found=f"a {CONFIG} that does not list the checkpoint's files",
            mend="Copy the whole checkpoint again, or use best/ or last/ of the run",
        )
    for name, digest in files.items():
        file = directory / name
        if not file.is_file() or sha256_file(file) != digest:
            raise CheckpointError(
                f"{file} is not what this checkpoint was saved with",
                found="no such file"
                if not file.is_file()
                else "other bytes (cut short, or of another checkpoint)",
                mend="Copy the whole checkpoint again, or use best/ or last/ of the run",
            )
    return dict(config)


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
        encoder_weights: A local file with the encoder's weights, the very ones it was trained with; None: those
            in the checkpoint or shared beside it, else the file the run was trained with, else the hub's.
        with_encoder: False leaves the encoder out, for use with cached features.
        device: Where it shall run.
        encoder_dtype: What a frozen encoder computes in; None: the fastest that the device has.

    Raises:
        CheckpointError: broken, the parts do not fit together, or weights are given for an encoder that was trained
            along.
        EncoderError: the encoder's weights are missing or of another network.
    """
    directory, config = read_config(path)
    try:
        spec: DecoderSpec = TypeAdapter(DecoderSpec).validate_python(config["decoder"])
        generation = DecodingOptions.model_validate(config["generation"])
        encoder_spec = EncoderSpec.model_validate(config["encoder"]["spec"])
        tokenizer = Tokenizer.load(directory / TOKENIZER)
        if tokenizer.size != config["vocabulary"]:
            raise CheckpointError(
                f"{directory / TOKENIZER} does not fit the decoder",
                found=f"{tokenizer.size} tokens",
                expected=f"{config['vocabulary']}",
                mend="Copy the whole checkpoint again",
            )
        decoder = build_decoder(
            spec,
            vocabulary=config["vocabulary"],
            encoder_width=config["encoder"]["width"],
            pad_id=tokenizer.pad_id,
        )
        decoder.load_state_dict(load_file(directory / DECODER))
    except (ValidationError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"{directory} cannot be loaded",
            found=" ".join(str(error).split()),
            mend="Copy the checkpoint again",
        ) from error
    encoder = (
        _load_encoder(directory, config, encoder_spec, encoder_weights, device, encoder_dtype)
        if with_encoder
        else None
    )
    model = CaptioningModel(decoder.to(device), encoder).eval()
    return Checkpoint(model, tokenizer, generation, config)


def _load_encoder(
    directory: Path,
    config: dict[str, Any],
    spec: EncoderSpec,
    weights: Path | None,
    device: torch.device | str,
    dtype: torch.dtype | None,
) -> Encoder:
    if spec.trainable:
        # It keeps the precision it was trained and judged in.
        dtype = torch.float32
    if weights is not None and spec.trainable:
        raise CheckpointError(
            f"{weights} cannot be used with {directory}",
            found="a captioner whose encoder was trained along with it and lies in the checkpoint",
            mend="Leave --encoder-weights (encoder_weights=) out",
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
            f"the encoder weights that {directory} was trained with are not in their place",
            found=f"no file {spec.weights}",
            mend="Name where they are now: --encoder-weights FILE (encoder_weights= in Python)",
        ) from error
    if not spec.trainable:
        check_identity(
            encoder.identity(),
            config["encoder"]["identity"],
            what=f"{weights or spec.weights or spec.name}, given to {directory},",
            mend="Name the weights it was trained with: --encoder-weights FILE (encoder_weights=)",
        )
    return encoder
