"""Writes an export of a checkpoint: the function behind ``showtell export``.

Nothing is written that does not agree: the graphs are made in a temporary directory, loaded from there by the road
that everyone takes, compared with torch on pictures, and only then put in their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from showtell.checkpoints.checkpoint import Checkpoint, load_checkpoint
from showtell.checkpoints.hub import CONFIG, TOKENIZER
from showtell.errors import ConfigError, ExportError
from showtell.export.graphs import check_exporter, write_decoder, write_encoder
from showtell.export.parity import LARGEST_DIFFERENCE, ParityCheck, compare
from showtell.export.quantize import quantize
from showtell.export.samples import draw_samples, read_samples
from showtell.export.state_axes import describe_state
from showtell.inference.onnx_backend import OnnxBackend
from showtell.inference.onnx_config import (
    ExportConfig,
    ExportedDecoder,
    ExportedEncoder,
    Precision,
    StateTensor,
)
from showtell.inference.onnx_files import FILES, FORMAT, SUMMED
from showtell.system.atomic import atomic_directory, sha256_file, write_json
from showtell.system.console import progress

SHOWN = 5


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        directory: Where.
        config: What it says of itself.
        comparison: How it compared with torch.
        sizes: Bytes of each file.
    """

    directory: Path
    config: ExportConfig
    comparison: ParityCheck
    sizes: dict[str, int]


@dataclass(frozen=True)
class Calibration:
    """Where the ranges of an 8-bit encoder come from.

    Attributes:
        paths: Pictures, folders, or prepared sets (their training split).
        pictures: How many are looked at.
    """

    paths: Sequence[Path]
    pictures: int = 128


def export_checkpoint(
    checkpoint: Path,
    directory: Path,
    *,
    calibration: Calibration | None = None,
    pictures: Sequence[Path] = (),
    split: str = "dev",
    compared: int = 32,
    encoder_weights: Path | None = None,
    threads: int = 0,
) -> Exported:
    """Write a checkpoint as ONNX graphs that run without torch.

    Args:
        checkpoint: A checkpoint, or a run (its ``best/``).
        directory: A place that is new or empty, or holds an export, which is replaced.
        calibration: Make the encoder 8-bit, with ranges from these pictures; None: float32.
        pictures: What the export is compared on: pictures, folders, prepared sets; none: scenes drawn here.
        split: Of prepared sets among them.
        compared: How many of them at most.
        encoder_weights: A local file with the encoder's weights.
        threads: CPU threads of the comparison; 0: one for each core this process may use.

    Raises:
        MissingExtraError: the packages that write ONNX files are not installed.
        ExportError: torch cannot trace the networks, the export says something else than the checkpoint (an 8-bit
            one may), or other files are in that place.
        ShowtellError: checkpoint, weights or pictures cannot be used.
    """
    check_exporter()
    _check_place(directory)
    if compared < 1 or (calibration is not None and calibration.pictures < 1):
        raise ConfigError("the number of pictures is out of range", found="0 or less", expected="1 or more")
    loaded = load_checkpoint(checkpoint, encoder_weights=encoder_weights, encoder_dtype=torch.float32)
    assert loaded.model.encoder is not None
    preprocessing = loaded.model.encoder.preprocessing
    samples = (
        read_samples(pictures, compared, preprocessing, split=split)
        if pictures
        else draw_samples(compared, preprocessing)
    )
    ranges = (
        None
        if calibration is None
        else read_samples(calibration.paths, calibration.pictures, preprocessing, split="train")
    )
    with atomic_directory(directory) as fresh, progress("exporting", 4, unit="steps") as advance:
        write_encoder(loaded.model.encoder, fresh)
        advance(1, "encoder")
        state = describe_state(loaded.model.decoder, loaded.model.encoder.width)
        write_decoder(loaded.model.decoder, loaded.model.encoder.width, state, fresh)
        advance(1, "decoder")
        if ranges is not None:
            quantize(fresh, ranges)
        advance(1, "precision")
        loaded.tokenizer.save(fresh / TOKENIZER)
        config = _config(loaded, fresh, "float32" if ranges is None else "int8", state)
        write_json(fresh / CONFIG, config.model_dump(mode="json"))
        exported = OnnxBackend.load(fresh, device="cpu", threads=threads)
        comparison = compare(loaded, exported, samples.pictures, samples.names, drawn=samples.drawn)
        advance(1, "comparison")
        if ranges is None:
            _refuse_difference(comparison, checkpoint)
        config = config.model_copy(update={"agreement": comparison.agreement})
        write_json(fresh / CONFIG, config.model_dump(mode="json"))
        sizes = {name: (fresh / name).stat().st_size for name in FILES}
    return Exported(directory, config, comparison, sizes)


def _check_place(directory: Path) -> None:
    foreign = sorted({path.name for path in directory.iterdir()} - set(FILES)) if directory.is_dir() else []
    if foreign or (directory.exists() and not directory.is_dir()):
        raise ExportError(
            f"cannot export into {directory}",
            found=f"other files ({foreign[0]})" if foreign else "a file",
            mend="Name an empty or new directory",
        )


def _config(
    loaded: Checkpoint, directory: Path, precision: Precision, state: tuple[StateTensor, ...]
) -> ExportConfig:
    """Return what the export in a directory says of itself before it was compared."""
    encoder, identity = loaded.model.encoder, loaded.config["encoder"]["identity"]
    assert encoder is not None
    return ExportConfig(
        showtell=version("showtell"),
        encoder=ExportedEncoder(
            name=identity["name"],
            stride_in=identity["stride_in"],
            weights=identity["weights"],
            preprocessing=encoder.preprocessing,
            width=encoder.width,
            grid=encoder.grid,
            precision=precision,
        ),
        decoder=ExportedDecoder(
            name=loaded.model.decoder.spec.name,
            state=state,
            precision="float32",
        ),
        vocabulary=loaded.tokenizer.size,
        generation=loaded.generation,
        files={name: sha256_file(directory / name) for name in SUMMED[FORMAT]},
    )


def _refuse_difference(comparison: ParityCheck, checkpoint: Path) -> None:
    found = comparison.differences[:SHOWN]
    if len(comparison.differences) > SHOWN:
        found.append(f"and {len(comparison.differences) - SHOWN} more")
    if comparison.agreement.logits > LARGEST_DIFFERENCE:
        found.append(f"logits differ by {comparison.agreement.logits:.3g}")
    if found:
        raise ExportError(
            f"the export does not say what {checkpoint} says; nothing was written",
            found="; ".join(found),
            expected=f"the same captions, and logits within {LARGEST_DIFFERENCE:g}",
            mend="Install the versions of torch, onnx and onnxruntime that constraints.txt names",
        )
