"""The one place that chooses between torch and ONNX for the networks of a captioner.

Imports nothing heavy: on a cold start the threads that open an export's graphs start before all other imports.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from showtell.errors import ConfigError, import_extra
from showtell.inference.onnx_files import is_export

if TYPE_CHECKING:
    from showtell.config.generation import DecodingOptions
    from showtell.inference.onnx_backend import OnnxBackend
    from showtell.inference.torch_backend import TorchBackend

Backend: TypeAlias = "OnnxBackend | TorchBackend"


def load_backend(
    path: Path, *, encoder_weights: Path | None = None, device: str = "auto", threads: int = 0
) -> Backend:
    """Load an export with onnxruntime, anything else as a checkpoint with torch.

    Raises:
        ConfigError: encoder weights for an export, which has its own.
        MissingExtraError: torch or onnxruntime is not installed.
        ShowtellError: the files cannot be used.
    """
    if not is_export(path):
        import_extra("torch", extra="train")
        from showtell.inference.torch_backend import TorchBackend

        return TorchBackend.load(path, encoder_weights, device, threads)
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

        return OnnxBackend(loader)
    finally:
        loader.wait()


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
