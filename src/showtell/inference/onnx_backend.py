"""Runs an export with onnxruntime and numpy; torch is never imported.

The exported decoder has the ``init_state`` and ``step`` of any decoder, on numpy arrays, so the searches are the same
code. Its state is the named arrays that the configuration lists. Arrays that no step changes are never copied.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from showtell.checkpoints.hub import DATASTORE, TOKENIZER
from showtell.config.generation import DecodingOptions
from showtell.errors import CheckpointError, ConfigError, EncoderError
from showtell.generation import Constraints, Hypothesis, OnStep, sampling_keys
from showtell.generation.ensemble import EnsembleDecoder
from showtell.inference.backend import with_members
from showtell.inference.onnx_config import StateTensor, read_config
from showtell.inference.onnx_files import (
    ATTENTION,
    ENCODER,
    EXPORT_AGAIN,
    FEATURES,
    IMAGES,
    INIT,
    LOGITS,
    STEP,
    TOKENS,
    state_input,
    state_output,
    weights_of,
)
from showtell.inference.onnx_sessions import Graph, OnnxSessionLoader
from showtell.retrieval.search import CaptionSearch, load_datastore
from showtell.system.batch_pool import BatchPool
from showtell.tokenizer import Tokenizer

Array = npt.NDArray[Any]

ENCODER_PIXELS = 4 * 224 * 224
"""Pixels encoded at once: 4 images of 224, which take no longer per image than 32 do."""


@dataclass(frozen=True)
class ArrayFeatures:
    """Encoder output as arrays of the shapes of `showtell.encoders.features.Features`."""

    regions: npt.NDArray[np.float32]
    pooled: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]

    def __getitem__(self, images: npt.NDArray[np.int64]) -> "ArrayFeatures":
        """Return the features of some of the images."""
        return ArrayFeatures(self.regions[images], self.pooled[images], self.mask[images])


@dataclass(frozen=True)
class ArrayState:
    """The state of an exported decoder: arrays by name, and their axes."""

    arrays: Mapping[str, Array]
    tensors: tuple[StateTensor, ...]

    def reorder(self, beam_indices: npt.NDArray[np.int64]) -> "ArrayState":
        """Return the states of the hypotheses, int64 [P, K']."""
        rows = np.arange(len(beam_indices))[:, None]
        return self._gather("hypotheses", (rows, beam_indices))

    def filter(self, batch_indices: npt.NDArray[np.int64]) -> "ArrayState":
        """Return the states of these images, int64 [P']."""
        return self._gather("images", (batch_indices,))

    def _gather(self, axis: str, index: tuple[Array, ...]) -> "ArrayState":
        gathered = {
            tensor.name: self.arrays[tensor.name][index] for tensor in self.tensors if axis in tensor.axes
        }
        return ArrayState({**self.arrays, **gathered}, self.tensors)


class OnnxDecoder:
    """The decoder of an export: ``init_state`` and ``step`` of the Decoder protocol, on numpy arrays."""

    def __init__(self, init: Graph, step: Graph, tensors: tuple[StateTensor, ...]) -> None:
        self._init, self._step, self._tensors = init, step, tensors

    def init_state(self, features: ArrayFeatures, num_hypotheses: int) -> ArrayState:
        """Return the state of K hypotheses of each image before the first token."""
        outputs = self._init({name: getattr(features, name) for name in FEATURES})
        arrays = {tensor.name: outputs[state_input(tensor.name)] for tensor in self._tensors}
        state = ArrayState(arrays, self._tensors)
        if num_hypotheses == 1:
            return state
        return state.reorder(np.zeros((len(features.pooled), num_hypotheses), np.int64))

    def step(
        self, tokens: npt.NDArray[np.int64], state: ArrayState
    ) -> tuple[npt.NDArray[np.float32], ArrayState, npt.NDArray[np.float32] | None]:
        """Read tokens int64 [P, K]; return logits float32 [P, K, V], the new state, attention [P, K, R] or None."""
        inputs = {state_input(name): array for name, array in state.arrays.items()}
        outputs = self._step({TOKENS: tokens, **inputs})
        changed = {
            tensor.name: outputs[state_output(tensor.name)] for tensor in self._tensors if not tensor.constant
        }
        new_state = ArrayState({**state.arrays, **changed}, self._tensors)
        return outputs[LOGITS], new_state, outputs.get(ATTENTION)


class OnnxBackend:
    """Runs an export as `showtell.inference.torch_backend.TorchBackend` runs a checkpoint."""

    def __init__(self, loader: OnnxSessionLoader) -> None:
        """Wait for the export that ``loader`` opens; a CheckpointError if its files or configuration are unusable."""
        self.directory, self.config = loader.directory, read_config(loader.directory)
        encoder, decoder = self.config.encoder, self.config.decoder
        self.facts, self.calibration = self.config.model_dump(mode="json"), self.config.calibration
        # Before the graphs, as a broken file is the reason if one cannot be run.
        loader.check()
        self.tokenizer = Tokenizer.load(self.directory / TOKENIZER, size=self.config.vocabulary)
        self.generation = self.config.generation
        if self.tokenizer.size != self.config.vocabulary:
            raise CheckpointError(
                f"{self.directory / TOKENIZER} does not fit the decoder",
                found=f"{self.tokenizer.size} tokens",
                expected=str(self.config.vocabulary),
                mend=EXPORT_AGAIN,
            )
        self.datastore = (
            load_datastore(self.directory / DATASTORE) if DATASTORE in self.config.files else None
        )
        self._search = CaptionSearch(self.tokenizer, self.datastore, self.calibration)
        self.preprocessing, self.grid = encoder.preprocessing, encoder.grid
        self.networks = f"{encoder.name} encoder, {decoder.name} decoder"
        self.place = f"{loader.place}, onnxruntime, {encoder.precision} encoder, {loader.threads} threads"
        # onnxruntime's sessions have their own threads, which several batches would only compete for.
        self.batch_pool = BatchPool()
        graphs = loader.graphs()
        self._encoder = graphs[ENCODER]
        self.decoder = OnnxDecoder(graphs[INIT], graphs[STEP], decoder.state)
        self._decoder: OnnxDecoder | EnsembleDecoder = self.decoder

    def join(self, others: Sequence["OnnxBackend"]) -> None:
        """Caption as an ensemble with other exports; a CheckpointError if one does not fit this one."""
        for other in others:
            cannot = f"{other.directory} cannot join an ensemble with {self.directory}"
            if other.tokenizer.sha256 != self.tokenizer.sha256:
                raise CheckpointError(cannot, found="another vocabulary")
            # A fine-tuned encoder is described by the weights it started from.
            weights = [each.config.files[weights_of(ENCODER)] for each in (self, other)]
            if other.config.encoder != self.config.encoder or weights[0] != weights[1]:
                raise CheckpointError(cannot, found="another encoder")
        self._decoder = EnsembleDecoder([self.decoder, *(other.decoder for other in others)])
        self.facts = dict(with_members(self.facts, [other.facts for other in others]))
        self.calibration = None
        self._search = CaptionSearch(self.tokenizer, self.datastore)
        names = " + ".join(each.config.decoder.name for each in (self, *others))
        self.networks = f"{self.config.encoder.name} encoder, {names} decoder"

    def encode(self, images: npt.NDArray[np.uint8]) -> ArrayFeatures:
        """Return features of images, uint8 [P, S, S, 3]; values that half floats cannot hold are an EncoderError."""
        # Few at once, for the memory of their activations; an image's features do not depend on it.
        at_once = max(1, ENCODER_PIXELS // self.preprocessing.size**2)
        parts = [
            self._encoder({IMAGES: images[start : start + at_once]})
            for start in range(0, max(1, len(images)), at_once)
        ]
        features = parts[0]
        if len(parts) > 1:
            features = {name: np.concatenate([part[name] for part in parts]) for name in FEATURES}
        if not np.isfinite(features["regions"]).all():
            raise EncoderError(
                f"the features of {self.config.encoder.name} cannot be used",
                found="values that are not finite or too large",
                mend=f"The export may be broken. {EXPORT_AGAIN}",
            )
        return ArrayFeatures(**features)

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
        features = self.encode(images)
        return self._search(
            self._decoder,
            features,
            options,
            attention=attention,
            keys=keys,
            on_step=on_step,
            constraints=constraints,
        )

    def save(self, directory: Path, **options: Any) -> None:
        """Raise a ConfigError, as an export cannot be trained."""
        raise ConfigError(
            f"{self.directory} cannot be saved as a checkpoint",
            found="an export, whose weights can no longer be trained",
            mend="Copy its directory; for the hub, push the checkpoint that was exported",
        )
