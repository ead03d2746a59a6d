"""Exports a checkpoint to ONNX graphs: the function behind ``showtell export``.

The graphs are written to a temporary directory, loaded from there like any export, compared with torch, and moved to
their place only if they agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from showtell.checkpoints.checkpoint import Checkpoint, load_checkpoint
from showtell.checkpoints.hub import CONFIG, DATASTORE, TOKENIZER
from showtell.errors import ConfigError, ExportError
from showtell.export.graphs import check_exporter, write_decoder, write_encoder
from showtell.export.parity import MAX_LOGIT_DIFFERENCE, ParityCheck, compare
from showtell.export.quantize import quantize_decoder, quantize_encoder
from showtell.export.samples import draw_samples, read_samples
from showtell.export.state_axes import describe_state
from showtell.inference.backend import load_backend
from showtell.inference.onnx_backend import OnnxBackend
from showtell.inference.onnx_config import (
    ExportConfig,
    ExportedDecoder,
    ExportedEncoder,
    Precision,
    StateTensor,
)
from showtell.inference.onnx_files import FILES
from showtell.system.atomic import atomic_directory, check_replaceable, sha256_file, write_summed_json
from showtell.system.console import progress_bar


@dataclass(frozen=True)
class Exported:
    """A finished export: its directory, configuration and comparison with torch, and the bytes of each file."""

    directory: Path
    config: ExportConfig
    comparison: ParityCheck
    sizes: dict[str, int]


@dataclass(frozen=True)
class Calibration:
    """The images that define the ranges of 8-bit networks."""

    paths: Sequence[Path]  # images, folders, or prepared sets (their training split)
    num_images: int = 128


def export_checkpoint(
    checkpoint: Path,
    directory: Path,
    *,
    calibration: Calibration | None = None,
    images: Sequence[Path] = (),
    split: str = "dev",
    num_compare: int = 32,
    encoder_weights: Path | None = None,
    threads: int = 0,
) -> Exported:
    """Write a checkpoint as ONNX graphs that run without torch.

    Args:
        checkpoint: A checkpoint, or a run (its ``best/``).
        directory: A new or empty directory, or an export, which is replaced.
        calibration: Quantize encoder and decoder to 8 bits with the ranges of these images; None: float32.
        images: Images, folders or prepared sets to compare on; none: drawn scenes.
        split: The split of prepared sets among them.
        num_compare: The maximum number of images to compare on.
        encoder_weights: A local file with the encoder's weights.
        threads: CPU threads of the comparison; 0: one per usable core.

    Raises:
        MissingExtraError: the packages that write ONNX files are not installed.
        ExportError: torch cannot trace the networks, the export generates other captions than the checkpoint (in
            float32), or the directory holds other files.
        ShowtellError: checkpoint, weights or images cannot be used.
    """
    check_exporter()
    check_replaceable(directory, FILES, failed="cannot export into", error=ExportError)
    if num_compare < 1 or (calibration is not None and calibration.num_images < 1):
        raise ConfigError("the number of images is out of range", found="0 or less", expected="1 or more")
    loaded = load_checkpoint(checkpoint, encoder_weights=encoder_weights, encoder_dtype=torch.float32)
    encoder, decoder = loaded.encoder, loaded.model.decoder
    preprocessing = encoder.preprocessing
    samples = (
        read_samples(images, num_compare, preprocessing, split=split)
        if images
        else draw_samples(num_compare, preprocessing)
    )
    ranges = (
        None
        if calibration is None
        else read_samples(calibration.paths, calibration.num_images, preprocessing, split="train")
    )
    with atomic_directory(directory) as new, progress_bar("exporting", 4, unit="steps") as advance:
        write_encoder(encoder, new)
        advance(1, "encoder")
        state = describe_state(decoder, encoder.width)
        write_decoder(decoder, encoder.width, state, new)
        advance(1, "decoder")
        if ranges is not None:
            quantize_encoder(new, ranges)
            quantize_decoder(new, loaded, state, ranges)
        advance(1, "precision")
        loaded.tokenizer.save(new / TOKENIZER)
        if loaded.datastore is not None:
            loaded.datastore.save(new / DATASTORE)
        config = _config(loaded, new, "float32" if ranges is None else "int8", state)
        write_summed_json(new / CONFIG, config.model_dump(mode="json"))
        exported = load_backend(new, device="cpu", threads=threads)
        assert isinstance(exported, OnnxBackend)
        comparison = compare(loaded, exported, samples)
        advance(1, "comparison")
        if ranges is None:
            _check_parity(comparison, checkpoint)
        config = config.model_copy(update={"parity": comparison.report})
        write_summed_json(new / CONFIG, config.model_dump(mode="json"))
        sizes = {name: (new / name).stat().st_size for name in FILES if (new / name).exists()}
    return Exported(directory, config, comparison, sizes)


def _config(
    loaded: Checkpoint, directory: Path, precision: Precision, state: tuple[StateTensor, ...]
) -> ExportConfig:
    """Return the configuration of the export in a directory, before the comparison."""
    encoder, identity = loaded.encoder, loaded.config["encoder"]["identity"]
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
        decoder=ExportedDecoder(name=loaded.model.decoder.spec.name, state=state, precision=precision),
        vocabulary=loaded.tokenizer.size,
        generation=loaded.generation,
        calibration=loaded.calibration,
        files={name: sha256_file(directory / name) for name in FILES if (directory / name).exists()},
    )


def _check_parity(comparison: ParityCheck, checkpoint: Path) -> None:
    found = comparison.first_differences()
    if comparison.report.logits > MAX_LOGIT_DIFFERENCE:
        found.append(f"logits differ by {comparison.report.logits:.3g}")
    if found:
        raise ExportError(
            f"the export of {checkpoint} does not match it; nothing was written",
            found="; ".join(found),
            expected=f"the same captions, and logits within {MAX_LOGIT_DIFFERENCE:g}",
            mend="Install the versions of torch, onnx and onnxruntime in constraints.txt",
        )
