"""What runs a captioner's networks, behind one protocol; torch is imported when the one that needs it is loaded."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from showtell.errors import MissingExtraError
from showtell.images import Preprocessing
from showtell.options import DecodingOptions
from showtell.search import Hypothesis, Specials, search
from showtell.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from showtell.models.checkpoint import Checkpoint

Pictures = npt.NDArray[np.uint8]


class Runtime(Protocol):
    """What runs a captioner's networks: torch, or an export."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Its vocabulary."""

    @property
    def search(self) -> DecodingOptions:
        """How it decodes unless told otherwise."""

    @property
    def preprocessing(self) -> Preprocessing:
        """What pictures must look like."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of regions."""

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


class TorchRuntime:
    """Runs a checkpoint with torch."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        encoder = checkpoint.model.encoder
        if encoder is None:
            raise ValueError("a checkpoint loaded without its encoder cannot caption pictures")
        self._checkpoint = checkpoint
        self._encoder, self._decoder = encoder, checkpoint.model.decoder
        self.tokenizer, self.search = checkpoint.tokenizer, checkpoint.search
        self.preprocessing, self.grid = encoder.preprocessing, encoder.grid

    @classmethod
    def load(cls, path: Path, encoder_weights: Path | None, device: str) -> TorchRuntime:
        """Load a checkpoint; the device ``auto`` is a graphics card where there is one."""
        try:
            # Before anything that needs it, so that a broken one is told as such.
            importlib.import_module("torch")
        except ImportError as error:
            raise MissingExtraError("torch", extra="train", cause=str(error)) from error
        from showtell.models.checkpoint import load_checkpoint
        from showtell.models.device import choose_device

        return cls(load_checkpoint(path, encoder_weights=encoder_weights, device=choose_device(device)))

    def describe(
        self, pictures: Pictures, options: DecodingOptions, *, attention: bool
    ) -> list[list[Hypothesis]]:
        """Return hypotheses about each picture, uint8 [P, S, S, 3], best first."""
        import torch

        specials = Specials.of(self.tokenizer)
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
        from showtell.models.checkpoint import save_portable

        save_portable(
            self._checkpoint, directory, include_encoder=include_encoder, card=card, repository=repository
        )
