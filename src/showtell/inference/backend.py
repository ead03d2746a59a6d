"""What runs a captioner's networks, behind one protocol: torch, or for an export onnxruntime; each imported if it is
needed.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from showtell.config.generation import DecodingOptions
from showtell.config.preprocessing import Preprocessing
from showtell.errors import ConfigError, MissingExtraError
from showtell.generation import Hypothesis, SpecialTokens, search
from showtell.inference.onnx_files import is_export
from showtell.system.batch_pool import BatchPool
from showtell.tokenizer import Tokenizer

if TYPE_CHECKING:
    from showtell.checkpoints.checkpoint import Checkpoint

Pictures = npt.NDArray[np.uint8]


class Backend(Protocol):
    """What runs a captioner's networks: torch, or an export."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Its vocabulary."""

    @property
    def generation(self) -> DecodingOptions:
        """How it decodes unless told otherwise."""

    @property
    def preprocessing(self) -> Preprocessing:
        """What pictures must look like."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of regions."""

    @property
    def place(self) -> str:
        """Device, precision and threads, in words."""

    @property
    def lanes(self) -> BatchPool:
        """How many batches it describes at once."""

    def describe(
        self, pictures: Pictures, options: DecodingOptions, *, attention: bool
    ) -> list[list[Hypothesis]]:
        """Return hypotheses about each picture, uint8 [P, S, S, 3], best first."""

    def save(
        self,
        directory: Path,
        *,
        include_encoder: bool,
        card: Mapping[str, Any] | None,
        repository: str | None,
    ) -> None:
        """Write what it runs, so that it can be loaded elsewhere; see `Captioner.save_pretrained`."""


def load_backend(path: Path, encoder_weights: Path | None, device: str, threads: int = 0) -> Backend:
    """Load what lies in a directory: an export with onnxruntime, anything else as a checkpoint, with torch.

    Raises:
        ConfigError: encoder weights for an export, which has its own; and those of the runtimes.
    """
    if not is_export(path):
        return TorchBackend.load(path, encoder_weights, device, threads)
    if encoder_weights is not None:
        raise ConfigError(
            f"{encoder_weights} cannot be used with {path}",
            found="an export, which holds its encoder",
            mend="Leave --encoder-weights (encoder_weights=) out",
        )
    from showtell.inference.onnx_backend import OnnxBackend

    return OnnxBackend.load(path, device=device, threads=threads)


class TorchBackend:
    """Runs a checkpoint with torch."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        encoder = checkpoint.model.encoder
        if encoder is None:
            raise ValueError("a checkpoint loaded without its encoder cannot caption pictures")
        self._checkpoint = checkpoint
        # Here, as this module is imported without torch.
        from showtell.inference.onednn_decoder import packed_decoder

        self._encoder, self._decoder = encoder, packed_decoder(checkpoint.model.decoder)
        self.tokenizer, self.generation = checkpoint.tokenizer, checkpoint.generation
        self.preprocessing, self.grid = encoder.preprocessing, encoder.grid

    @classmethod
    def load(cls, path: Path, encoder_weights: Path | None, device: str, threads: int = 0) -> TorchBackend:
        """Load a checkpoint; the device ``auto`` is a graphics card where there is one."""
        try:
            # Before anything that needs it, so that a broken one is told as such.
            importlib.import_module("torch")
        except ImportError as error:
            raise MissingExtraError("torch", extra="train", cause=str(error)) from error
        from showtell.checkpoints.checkpoint import load_checkpoint
        from showtell.system.device import choose_device, set_num_threads

        set_num_threads(threads)
        return cls(load_checkpoint(path, encoder_weights=encoder_weights, device=choose_device(device)))

    @property
    def place(self) -> str:
        """Device, precision and threads, in words."""
        import torch

        precision = str(self._encoder.dtype).removeprefix("torch.")
        return f"{self._encoder.mean.device}, {precision}, {torch.get_num_threads()} threads"

    @property
    def lanes(self) -> BatchPool:
        """Two on a CPU of several cores, each with its share of torch's threads."""
        from showtell.system.device import make_batch_pool

        return make_batch_pool(self._encoder.mean.device)

    def describe(
        self, pictures: Pictures, options: DecodingOptions, *, attention: bool
    ) -> list[list[Hypothesis]]:
        """Return hypotheses about each picture, uint8 [P, S, S, 3], best first."""
        import torch

        specials = SpecialTokens.of(self.tokenizer)
        with torch.inference_mode():
            features = self._encoder(torch.from_numpy(pictures))
            return search(self._decoder, features, options, specials, attention=attention)

    def save(
        self,
        directory: Path,
        *,
        include_encoder: bool,
        card: Mapping[str, Any] | None,
        repository: str | None,
    ) -> None:
        """Write the checkpoint again, so that it can be loaded elsewhere."""
        from showtell.checkpoints.checkpoint import save_portable

        save_portable(
            self._checkpoint, directory, include_encoder=include_encoder, card=card, repository=repository
        )
