"""Runs a checkpoint with torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from showtell.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_portable
from showtell.checkpoints.ensemble import make_ensemble
from showtell.config.generation import DecodingOptions
from showtell.errors import ConfigError
from showtell.generation import Constraints, Hypothesis, OnStep, sampling_keys
from showtell.inference.backend import with_members
from showtell.inference.onednn_decoder import packed_decoder
from showtell.retrieval.search import CaptionSearch
from showtell.system.batch_pool import BatchPool
from showtell.system.device import choose_device, make_batch_pool, set_num_threads


class TorchBackend:
    """Runs a checkpoint with its encoder, or several as an ensemble with that of the first."""

    def __init__(self, checkpoint: Checkpoint, others: Sequence[Checkpoint] = ()) -> None:
        model = make_ensemble([checkpoint, *others]) if others else checkpoint.model
        self._is_ensemble = bool(others)
        encoder = checkpoint.encoder
        self.checkpoint, self._encoder = checkpoint, encoder
        self._decoder = packed_decoder(model.decoder)
        self.tokenizer, self.generation = checkpoint.tokenizer, checkpoint.generation
        self.datastore = checkpoint.datastore
        self.facts = with_members(checkpoint.config, [other.config for other in others])
        self.calibration = None if others else checkpoint.calibration
        self._search = CaptionSearch(checkpoint.tokenizer, checkpoint.datastore, self.calibration)
        self.preprocessing, self.grid = encoder.preprocessing, encoder.grid
        names = " + ".join(each.model.decoder.spec.name for each in (checkpoint, *others))
        self.networks = f"{encoder.spec.name} encoder, {names} decoder"

    @classmethod
    def load(
        cls,
        path: Path,
        encoder_weights: Path | None,
        device: str,
        threads: int = 0,
        ensemble_with: Sequence[Path] = (),
    ) -> "TorchBackend":
        """Load a checkpoint, or an ensemble; the device ``auto`` is a GPU if there is one."""
        set_num_threads(threads)
        chosen = choose_device(device)
        others = [load_checkpoint(other, with_encoder=False, device=chosen) for other in ensemble_with]
        return cls(load_checkpoint(path, encoder_weights=encoder_weights, device=chosen), others)

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
        """Write the checkpoint for use elsewhere; see `save_portable`. An ensemble is a ConfigError."""
        if self._is_ensemble:
            mend = "Save its members; load them with ensemble_with="
            raise ConfigError("an ensemble cannot be saved as one captioner", mend=mend)
        save_portable(
            self.checkpoint, directory, include_encoder=include_encoder, card=card, repository=repository
        )
