"""Runs an export with onnxruntime and numpy alone: torch is never imported here.

The decoder of an export is ``init_state`` and ``step`` like any other, on numpy arrays, so the searches are the very same
code. Its state is the named arrays that the configuration lists: those that no step changes are handed to each step
as they are and never copied; `reorder` and `filter` gather along the axes that are hypotheses and pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from showtell.checkpoints.hub import TOKENIZER
from showtell.config.generation import DecodingOptions
from showtell.errors import CheckpointError, ConfigError, EncoderError
from showtell.generation import Hypothesis, SpecialTokens, search
from showtell.inference.onnx_config import ExportConfig, StateTensor, read_config
from showtell.inference.onnx_files import (
    AGAIN,
    ATTENTION,
    BEGIN,
    ENCODER,
    FEATURES,
    LOGITS,
    PICTURES,
    STEP,
    TOKENS,
    state_input,
    state_output,
)
from showtell.inference.onnx_sessions import Graph, OnnxSessionLoader
from showtell.system.batch_pool import BatchPool
from showtell.tokenizer import Tokenizer

Array = npt.NDArray[Any]

PART_PIXELS = 4 * 224 * 224
"""Pixels that are looked at at once: 4 pictures of 224, which take no longer a picture than 32 do."""


@dataclass(frozen=True)
class ArrayFeatures:
    """What the encoder saw, as `showtell.encoders.features.Features` has it: arrays of the same shapes."""

    regions: npt.NDArray[np.float32]
    pooled: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ArrayState:
    """What an exported decoder remembers: arrays by name, and what their axes are."""

    arrays: Mapping[str, Array]
    form: tuple[StateTensor, ...]

    def reorder(self, parents: npt.NDArray[np.int64]) -> ArrayState:
        """Return the states of the parents, int64 [P, K']; what all hypotheses of a picture share stays."""
        rows = np.arange(len(parents))[:, None]
        return self._where("hypotheses", (rows, parents))

    def filter(self, pictures: npt.NDArray[np.int64]) -> ArrayState:
        """Return the states of these pictures alone, int64 [P']."""
        return self._where("pictures", (pictures,))

    def _where(self, axis: str, index: tuple[Array, ...]) -> ArrayState:
        moved = {one.name: self.arrays[one.name][index] for one in self.form if axis in one.axes}
        return ArrayState({**self.arrays, **moved}, self.form)


class OnnxDecoder:
    """The decoder of an export: ``init_state`` and ``step`` of the Decoder protocol, on numpy arrays."""

    def __init__(self, begin: Graph, step: Graph, form: tuple[StateTensor, ...]) -> None:
        self._begin, self._step, self._form = begin, step, form

    def init_state(self, features: ArrayFeatures, hypotheses: int) -> ArrayState:
        """Return the state of K hypotheses about each picture before the first word."""
        made = self._begin({name: getattr(features, name) for name in FEATURES})
        state = ArrayState({one.name: made[state_input(one.name)] for one in self._form}, self._form)
        if hypotheses == 1:
            return state
        return state.reorder(np.zeros((len(features.pooled), hypotheses), np.int64))

    def step(
        self, tokens: npt.NDArray[np.int64], state: ArrayState
    ) -> tuple[npt.NDArray[np.float32], ArrayState, npt.NDArray[np.float32] | None]:
        """Read tokens int64 [P, K]; return logits float32 [P, K, V], the new state, attention [P, K, R] or None."""
        given = {state_input(name): array for name, array in state.arrays.items()}
        said = self._step({TOKENS: tokens, **given})
        changed = {one.name: said[state_output(one.name)] for one in self._form if not one.constant}
        return said[LOGITS], ArrayState({**state.arrays, **changed}, self._form), said.get(ATTENTION)


class OnnxBackend:
    """Runs an export; see `showtell.inference.backend.Backend`."""

    def __init__(
        self,
        directory: Path,
        config: ExportConfig,
        tokenizer: Tokenizer,
        graphs: Mapping[str, Graph],
        place: str,
    ) -> None:
        self.directory, self.config, self.place = directory, config, place
        self.tokenizer, self.generation = tokenizer, config.generation
        self.preprocessing, self.grid = config.encoder.preprocessing, config.encoder.grid
        self.decoder = OnnxDecoder(graphs[BEGIN], graphs[STEP], config.decoder.state)
        self._encoder = graphs[ENCODER]

    @classmethod
    def load(
        cls, path: Path, *, device: str = "auto", threads: int = 0, opening: OnnxSessionLoader | None = None
    ) -> OnnxBackend:
        """Load an export.

        Args:
            path: Its directory.
            device: As for `OnnxSessionLoader`.
            threads: As for `OnnxSessionLoader`.
            opening: The same, begun before; what it was begun with is what counts.

        Raises:
            CheckpointError: a file is missing, cut or foreign, or the configuration cannot be used.
            ConfigError: no such device here.
            MissingExtraError: onnxruntime is not installed.
        """
        opening = opening or OnnxSessionLoader(path, device=device, threads=threads)
        try:
            return cls._of(opening)
        finally:
            opening.wait()

    @classmethod
    def _of(cls, opening: OnnxSessionLoader) -> OnnxBackend:
        directory = opening.directory
        config = read_config(directory)
        opening.check()
        tokenizer = Tokenizer.load(directory / TOKENIZER)
        if tokenizer.size != config.vocabulary:
            raise CheckpointError(
                f"{directory / TOKENIZER} does not fit the decoder",
                found=f"{tokenizer.size} tokens",
                expected=f"{config.vocabulary}",
                mend=AGAIN,
            )
        place = f"{opening.place}, onnxruntime, {config.encoder.precision} encoder, {opening.threads} threads"
        return cls(directory, config, tokenizer, opening.graphs(), place)

    def look(self, pictures: npt.NDArray[np.uint8]) -> ArrayFeatures:
        """Return what the encoder sees in pictures, uint8 [P, S, S, 3].

        Raises:
            EncoderError: numbers that half floats cannot hold.
        """
        features = self._look_in_parts(pictures)
        if not np.isfinite(features.regions).all():
            raise EncoderError(
                f"the features of {self.config.encoder.name} cannot be used",
                found="numbers that are not finite or too large",
                mend=f"The export may be broken. {AGAIN}",
            )
        return features

    @property
    def lanes(self) -> BatchPool:
        """One: onnxruntime's sessions have their own threads, which all batches would share."""
        return BatchPool()

    def _look_in_parts(self, pictures: npt.NDArray[np.uint8]) -> ArrayFeatures:
        """Look at few pictures at once, so that maps of few are held; a picture's features do not depend on it."""
        at_once = max(1, PART_PIXELS // self.preprocessing.size**2)
        parts = [
            self._encoder({PICTURES: pictures[start : start + at_once]})
            for start in range(0, max(1, len(pictures)), at_once)
        ]
        if len(parts) == 1:
            return ArrayFeatures(**parts[0])
        return ArrayFeatures(**{name: np.concatenate([part[name] for part in parts]) for name in FEATURES})

    def describe(
        self, pictures: npt.NDArray[np.uint8], options: DecodingOptions, *, attention: bool
    ) -> list[list[Hypothesis]]:
        """Return hypotheses about each picture, uint8 [P, S, S, 3], best first."""
        specials = SpecialTokens.of(self.tokenizer)
        return search(self.decoder, self.look(pictures), options, specials, attention=attention)

    def save(
        self,
        directory: Path,
        *,
        include_encoder: bool,
        card: Mapping[str, Any] | None,
        repository: str | None,
    ) -> None:
        """Refuse: what `save` of other runtimes writes is a checkpoint.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            f"{self.directory} cannot be saved as a checkpoint",
            found="an export, whose weights cannot be trained or changed any more",
            mend="Copy its directory; for the hub, push the checkpoint that it was made from",
        )
