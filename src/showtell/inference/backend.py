"""The one place that chooses between torch and ONNX for the networks of a captioner.

Imports nothing heavy: on a cold start the threads that open an export's graphs start before all other imports.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from showtell.errors import ConfigError, import_extra
from showtell.inference.onnx_files import is_export

if TYPE_CHECKING:
    from showtell.config.generation import DecodingOptions
    from showtell.inference.onnx_backend import OnnxBackend
    from showtell.inference.torch_backend import TorchBackend

Backend: TypeAlias = "OnnxBackend | TorchBackend"


def load_backend(
    path: Path,
    *,
    encoder_weights: Path | None = None,
    device: str = "auto",
    threads: int = 0,
    ensemble_with: Sequence[Path] = (),
) -> Backend:
    """Load an export with onnxruntime, anything else as a checkpoint with torch; others of its kind join it.

    Raises:
        ConfigError: encoder weights for an export, which has its own, or an ensemble of both kinds.
        MissingExtraError: torch or onnxruntime is not installed.
        ShowtellError: the files cannot be used.
    """
    if odd := next((other for other in ensemble_with if is_export(other) != is_export(path)), None):
        found = "checkpoints and exports" if is_export(odd) else "exports and checkpoints"
        raise ConfigError(f"{odd} cannot join an ensemble with {path}", found=found, expected="one kind")
    if not is_export(path):
        import_extra("torch", extra="train")
        from showtell.inference.torch_backend import TorchBackend

        return TorchBackend.load(path, encoder_weights, device, threads, ensemble_with)
    if encoder_weights is not None:
        raise ConfigError(
            f"{encoder_weights} cannot be used with {path}",
            found="an export, which holds its encoder",
            mend="Omit --encoder-weights (encoder_weights=)",
        )
    from showtell.inference.onnx_sessions import OnnxSessionLoader

    loader = OnnxSessionLoader(path, device=device, threads=threads)
    try:
        # The other imports of captioning, while the loader's threads open the graphs.
        importlib.import_module("showtell.inference.captioner")
        from showtell.inference.onnx_backend import OnnxBackend

        backend = OnnxBackend(loader)
    finally:
        loader.wait()
    if ensemble_with:
        members = [load_backend(other, device=device, threads=threads) for other in ensemble_with]
        backend.join(cast("list[OnnxBackend]", members))
    return backend


def with_members(facts: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the facts of an ensemble: those of the first captioner, and the others' under ``ensemble_with``."""
    return {**facts, "ensemble_with": list(others)} if others else facts


def read_facts(path: Path) -> tuple[dict[str, Any], DecodingOptions]:
    """Return the ``facts`` and ``options`` of a captioner without its encoder; a CheckpointError if it is broken."""
    if is_export(path):
        from showtell.inference import onnx_config

        exported = onnx_config.read_config(path)
        return exported.model_dump(mode="json"), exported.generation
    import_extra("torch", extra="train")
    from showtell.checkpoints.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(path, with_encoder=False)
    return checkpoint.config, checkpoint.generation
