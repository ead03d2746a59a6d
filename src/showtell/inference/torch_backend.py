"""Runs a checkpoint with torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from showtell.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_portable
from showtell.config.generation import DecodingOptions
from showtell.generation import Constraints, Hypothesis, OnStep, sampling_keys
from showtell.inference.onednn_decoder import packed_decoder
from showtell.retrieval.search import CaptionSearch
from showtell.system.batch_pool import BatchPool
from showtell.system.device import choose_device, make_batch_pool, set_num_threads


class TorchBackend:
    """Runs a checkpoint with its encoder."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        encoder = checkpoint.model.encoder
        if encoder is None:
            raise ValueError("a checkpoint loaded without its encoder cannot caption images")
        self.checkpoint, self._encoder = checkpoint, encoder
        self._decoder = packed_decoder(checkpoint.model.decoder)
        self.tokenizer, self.generation = checkpoint.tokenizer, checkpoint.generation
        self.datastore, self.facts = checkpoint.datastore, checkpoint.config
        self.calibration = checkpoint.calibration
        self._search = CaptionSearch(checkpoint.tokenizer, checkpoint.datastore, checkpoint.calibration)
        self.preprocessing, self.grid = encoder.preprocessing, encoder.grid
        self.networks = f"{encoder.spec.name} encoder, {checkpoint.model.decoder.spec.name} decoder"

    @classmethod
    def load(cls, path: Path, encoder_weights: Path | None, device: str, threads: int = 0) -> "TorchBackend":
        """Load a checkpoint; the device ``auto`` is a GPU if there is one."""
        set_num_threads(threads)
        return cls(load_checkpoint(path, encoder_weights=encoder_weights, device=choose_device(device)))

    @property
    def place(self) -> str:
        """Device, precision and threads."""
        precision = str(self._encoder.dtype).removeprefix("torch.")
        return f"{self._encoder.mean.device}, {precision}, {torch.get_num_threads()} threads"

    @property
    def batch_pool(self) -> BatchPool:
        """Two batches on a CPU of several cores, each with half of torch's threads."""
        return make_batch_pool(self._encoder.mean.device)

    def generate(
        self,
        images: npt.NDArray[np.uint8],
        options: DecodingOptions,
        *,
        attention: bool,
        on_step: OnStep | None = None,
        constraints: Constraints = (),
    ) -> list[list[Hypothesis]]:
        """Return hypotheses of each image, uint8 [P, S, S, 3], best first; see `showtell.generation.search`."""
        keys = sampling_keys(images, options)
        with torch.inference_mode():
            features = self._encoder(torch.from_numpy(images))
            return self._search(
                self._decoder,
                features,
                options,
                attention=attention,
                keys=keys,
                on_step=on_step,
                constraints=constraints,
            )

    def save(
        self,
        directory: Path,
        *,
        include_encoder: bool,
        card: Mapping[str, Any] | None,
        repository: str | None = None,
    ) -> None:
        """Write the checkpoint for use elsewhere; see `save_portable`."""
        save_portable(
            self.checkpoint, directory, include_encoder=include_encoder, card=card, repository=repository
        )
