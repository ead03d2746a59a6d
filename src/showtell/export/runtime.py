"""Runs an export with onnxruntime and numpy alone: torch is never imported here.

The decoder of an export is ``begin`` and ``step`` like any other, on numpy arrays, so the searches are the very same
code. Its state is the named arrays that the configuration lists: those that no step changes are handed to each step
as they are and never copied; `select` and `keep` gather along the axes that are hypotheses and pictures.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from showtell.cores import thread_count
from showtell.errors import CheckpointError, ConfigError, EncoderError, MissingExtraError
from showtell.export.form import (
    AGAIN,
    ATTENTION,
    BEGIN,
    ENCODER,
    FEATURES,
    GRAPHS,
    LOGITS,
    PICTURES,
    STEP,
    TOKENS,
    ExportConfig,
    StateTensor,
    read_config,
    read_file,
    state_input,
    state_output,
)
from showtell.files import standing_directory
from showtell.lanes import Lanes
from showtell.models.hub import TOKENIZER
from showtell.options import DecodingOptions
from showtell.search import Hypothesis, Specials, search
from showtell.text.tokenizer import Tokenizer

Array = npt.NDArray[Any]
_CPU = Path("/proc/cpuinfo")
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@dataclass(frozen=True)
class ArrayFeatures:
    """What the encoder saw, as `showtell.models.features.Features` has it: arrays of the same shapes."""

    regions: npt.NDArray[np.float32]
    pooled: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ArrayState:
    """What an exported decoder remembers: arrays by name, and what their axes are."""

    arrays: Mapping[str, Array]
    form: tuple[StateTensor, ...]

    def select(self, parents: npt.NDArray[np.int64]) -> ArrayState:
        """Return the states of the parents, int64 [P, K']; what all hypotheses of a picture share stays."""
        rows = np.arange(len(parents))[:, None]
        return self._where("hypotheses", (rows, parents))

    def keep(self, pictures: npt.NDArray[np.int64]) -> ArrayState:
        """Return the states of these pictures alone, int64 [P']."""
        return self._where("pictures", (pictures,))

    def _where(self, axis: str, index: tuple[Array, ...]) -> ArrayState:
        moved = {one.name: self.arrays[one.name][index] for one in self.form if axis in one.axes}
        return ArrayState({**self.arrays, **moved}, self.form)


class Graph:
    """One ONNX graph, ready to run.

    Args:
        session: onnxruntime's.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs = {one.name for one in session.get_inputs()}
        self.outputs = [one.name for one in session.get_outputs()]

    def __call__(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Return its outputs by name; values that it does not read are left out."""
        given = {name: value for name, value in values.items() if name in self.inputs}
        return dict(zip(self.outputs, self._session.run(None, given), strict=True))


class ExportedDecoder:
    """The decoder of an export: ``begin`` and ``step`` of the Decoder protocol, on numpy arrays."""

    def __init__(self, begin: Graph, step: Graph, form: tuple[StateTensor, ...]) -> None:
        self._begin, self._step, self._form = begin, step, form

    def begin(self, features: ArrayFeatures, hypotheses: int) -> ArrayState:
        """Return the state of K hypotheses about each picture before the first word."""
        made = self._begin({name: getattr(features, name) for name in FEATURES})
        state = ArrayState({one.name: made[state_input(one.name)] for one in self._form}, self._form)
        if hypotheses == 1:
            return state
        return state.select(np.zeros((len(features.pooled), hypotheses), np.int64))

    def step(
        self, tokens: npt.NDArray[np.int64], state: ArrayState
    ) -> tuple[npt.NDArray[np.float32], ArrayState, npt.NDArray[np.float32] | None]:
        """Read tokens int64 [P, K]; return logits float32 [P, K, V], the new state, attention [P, K, R] or None."""
        given = {state_input(name): array for name, array in state.arrays.items()}
        said = self._step({TOKENS: tokens, **given})
        changed = {one.name: said[state_output(one.name)] for one in self._form if not one.constant}
        return said[LOGITS], ArrayState({**state.arrays, **changed}, self._form), said.get(ATTENTION)


class ExportRuntime:
    """Runs an export; see `showtell.models.runtime.Runtime`."""

    def __init__(
        self,
        directory: Path,
        config: ExportConfig,
        tokenizer: Tokenizer,
        graphs: Mapping[str, Graph],
        place: str,
    ) -> None:
        self.directory, self.config, self.place = directory, config, place
        self.tokenizer, self.search = tokenizer, config.search
        self.preprocessing, self.grid = config.encoder.preprocessing, config.encoder.grid
        self.decoder = ExportedDecoder(graphs[BEGIN], graphs[STEP], config.decoder.state)
        self._encoder = graphs[ENCODER]

    @classmethod
    def load(cls, path: Path, *, device: str = "auto", threads: int = 0) -> ExportRuntime:
        """Load an export.

        Args:
            path: Its directory.
            device: ``cpu``, ``cuda``, ``cuda:1``; ``auto`` is a graphics card where onnxruntime can use one.
            threads: CPU threads of a graph; see `showtell.cores.thread_count`.

        Raises:
            CheckpointError: a file is missing, cut or foreign, or the configuration cannot be used.
            ConfigError: no such device here.
            MissingExtraError: onnxruntime is not installed.
        """
        directory = standing_directory(path)
        config = read_config(directory)
        onnxruntime = _import_onnxruntime()
        providers = _providers(device, onnxruntime.get_available_providers())
        open_graph = _opener(onnxruntime, directory, config, providers, thread_count(threads))
        with ThreadPoolExecutor(len(GRAPHS)) as pool:
            opening = {name: pool.submit(open_graph, name) for name in GRAPHS}
            read_file(directory, TOKENIZER, config)
            tokenizer = Tokenizer.load(directory / TOKENIZER)
            graphs = {name: future.result() for name, future in opening.items()}
        if tokenizer.size != config.vocabulary:
            raise CheckpointError(
                f"{directory / TOKENIZER} does not fit the decoder",
                found=f"{tokenizer.size} tokens",
                expected=f"{config.vocabulary}",
                mend=AGAIN,
            )
        used = "cpu" if providers == [_PROVIDERS["cpu"]] else "cuda"
        place = f"{used}, onnxruntime, {config.encoder.precision} encoder, {thread_count(threads)} threads"
        return cls(directory, config, tokenizer, graphs, place)

    def look(self, pictures: npt.NDArray[np.uint8]) -> ArrayFeatures:
        """Return what the encoder sees in pictures, uint8 [P, S, S, 3].

        Raises:
            EncoderError: numbers that half floats cannot hold.
        """
        features = ArrayFeatures(**self._encoder({PICTURES: pictures}))
        if not np.isfinite(features.regions).all():
            raise EncoderError(
                f"the features of {self.config.encoder.name} cannot be used",
                found="numbers that are not finite or too large",
                mend=f"The export may be broken. {AGAIN}",
            )
        return features

    @property
    def lanes(self) -> Lanes:
        """One: onnxruntime's sessions have their own threads, which all batches would share."""
        return Lanes()

    def describe(
        self, pictures: npt.NDArray[np.uint8], options: DecodingOptions, *, attention: bool
    ) -> list[list[Hypothesis]]:
        """Return hypotheses about each picture, uint8 [P, S, S, 3], best first."""
        specials = Specials.of(self.tokenizer)
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


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime, for exports,", extra="onnx", cause=str(error)) from error
    return onnxruntime


def _opener(
    onnxruntime: Any, directory: Path, config: ExportConfig, providers: list[Any], threads: int
) -> Any:
    """Return what opens one of the graphs by its name."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if config.encoder.precision == "int8" and sums_overflow(platform.machine(), _CPU):
        # Three times slower where it is not needed, and then the same bits.
        options.add_session_config_entry("session.x64quantprecision", "1")

    def open_graph(name: str) -> Graph:
        content = read_file(directory, name, config)
        try:
            return Graph(onnxruntime.InferenceSession(content, options, providers=providers))
        except Exception as error:  # onnxruntime's errors have no public common kind
            raise CheckpointError(
                f"{directory / name} cannot be run",
                found=str(error).splitlines()[0],
                mend=f"Try another version of onnxruntime than {onnxruntime.__version__}. {AGAIN}",
            ) from error

    return open_graph


def _providers(device: str, available: list[str]) -> list[Any]:
    """Return onnxruntime's names for a device."""
    name, _, number = device.partition(":")
    if name == "auto":
        name = "cuda" if _PROVIDERS["cuda"] in available else "cpu"
    if _PROVIDERS.get(name) not in available or (number and not (name == "cuda" and number.isdigit())):
        here = [known for known, provider in _PROVIDERS.items() if provider in available]
        raise ConfigError(
            f"the device '{device}' cannot be used with an export",
            found=f"an onnxruntime for {', '.join(available)}",
            expected=" or ".join(("auto", *here)),
        )
    if name == "cpu":
        return [_PROVIDERS["cpu"]]
    return [(_PROVIDERS["cuda"], {"device_id": number or "0"}), _PROVIDERS["cpu"]]


def sums_overflow(machine: str, cpu: Path) -> bool:
    """Return whether a processor may let sums of 8-bit products overflow: x86 that is not known to have VNNI or AMX.

    Args:
        machine: Its kind, as `platform.machine` names it.
        cpu: Where Linux describes it.
    """
    if machine.lower() not in {"x86_64", "amd64"}:
        return False
    try:
        flags = set(cpu.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return True
    return flags.isdisjoint({"avx512_vnni", "avx_vnni", "amx_int8"})
