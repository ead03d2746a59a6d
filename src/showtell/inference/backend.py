"""The networks of a captioner behind one protocol, and the one place that chooses between torch and ONNX.

Imports nothing heavy: on a cold start the threads that open an export's graphs start before all other imports.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from showtell.errors import ConfigError, MissingExtraError
from showtell.inference.onnx_files import is_export

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from showtell.config.generation import DecodingOptions
    from showtell.config.preprocessing import Preprocessing
    from showtell.generation import Hypothesis
    from showtell.system.batch_pool import BatchPool
    from showtell.tokenizer import Tokenizer


class Backend(Protocol):
    """Runs a captioner's networks.

    Attributes:
        tokenizer: The vocabulary.
        generation: The default decoding options.
        preprocessing: The preprocessing of images.
        grid: Rows and columns of regions.
        networks: Names of encoder and decoder.
        place: Device, precision and threads.
        batch_pool: The number of batches captioned at once.
    """

    tokenizer: Tokenizer
    generation: DecodingOptions
    preprocessing: Preprocessing
    grid: tuple[int, int]
    networks: str

    @property
    def place(self) -> str: ...

    @property
    def batch_pool(self) -> BatchPool: ...

    def generate(
        self, images: npt.NDArray[np.uint8], options: DecodingOptions, *, attention: bool
    ) -> list[list[Hypothesis]]:
        """Return hypotheses of each image, uint8 [P, S, S, 3], best first."""

    def save(
        self,
        directory: Path,
        *,
        include_encoder: bool,
        card: Mapping[str, Any] | None,
        repository: str | None,
    ) -> None:
        """Write a checkpoint; see `Captioner.save_pretrained`."""


def require_torch() -> None:
    """Import torch before all modules that need it, so that a broken installation is reported as such.

    Raises:
        MissingExtraError: torch is not installed, or cannot be imported.
    """
    try:
        importlib.import_module("torch")
    except ImportError as error:
        raise MissingExtraError("torch", extra="train", cause=str(error)) from error


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
        require_torch()
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
        importlib.import_module("showtell.inference.predict")
        from showtell.inference.onnx_backend import OnnxBackend

        return OnnxBackend.load(loader)
    finally:
        loader.wait()
