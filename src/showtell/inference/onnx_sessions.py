"""Opens the graphs of an export, in threads, while whoever asked for them goes on: a cold command's time.

Onnxruntime reads and lays out weights without Python's lock, and so does the sum of a file; what a captioner needs
of Python is imported and read meanwhile.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from showtell.errors import CheckpointError, ConfigError, MissingExtraError
from showtell.inference.onnx_files import AGAIN, BEGIN, ENCODER, GRAPHS, STEP, check_file, read_outline
from showtell.system.atomic import resolve_swapped
from showtell.system.cpu import thread_count

if TYPE_CHECKING:
    import numpy.typing as npt

_CPU = Path("/proc/cpuinfo")
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Graph:
    """One ONNX graph, ready to run.

    Args:
        session: onnxruntime's.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs = {one.name for one in session.get_inputs()}
        self.outputs = [one.name for one in session.get_outputs()]

    def __call__(self, values: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Return its outputs by name; values that it does not read are left out."""
        given = {name: value for name, value in values.items() if name in self.inputs}
        return dict(zip(self.outputs, self._session.run(None, given), strict=True))


class OnnxSessionLoader:
    """An export whose graphs are being opened, from the moment this is made.

    Args:
        path: Its directory.
        device: ``cpu``, ``cuda``, ``cuda:1``; ``auto`` is a graphics card where onnxruntime can use one.
        threads: CPU threads of a graph; see `showtell.system.cpu.thread_count`.

    Attributes:
        directory: Where its files are.
        place: ``cpu`` or ``cuda``.
        threads: CPU threads of a graph.

    Raises:
        CheckpointError: no export, or of another format.
        ConfigError: no such device here.
        MissingExtraError: onnxruntime is not installed.
    """

    def __init__(self, path: Path, *, device: str = "auto", threads: int = 0) -> None:
        self.directory, self.threads = resolve_swapped(path), thread_count(threads)
        outline = read_outline(self.directory)
        self._sums = _Thread(lambda: self._check_files(outline["files"]))
        # The largest import of all, while the other thread reads the files.
        self._onnxruntime = _import_onnxruntime()
        providers = _providers(device, self._onnxruntime.get_available_providers())
        self.place = "cpu" if providers == [_PROVIDERS["cpu"]] else "cuda"
        encoder = outline.get("encoder")
        narrow = isinstance(encoder, dict) and encoder.get("precision") == "int8"
        options = _options(self._onnxruntime, self.threads, narrow=narrow)

        def open_graphs(*names: str) -> dict[str, Graph]:
            return {name: self._open(name, options, providers) for name in names}

        # The encoder takes longer than both others.
        self._opening = [_Thread(lambda: open_graphs(ENCODER)), _Thread(lambda: open_graphs(BEGIN, STEP))]

    def check(self) -> None:
        """Wait until every file is known to be the one that was written.

        Raises:
            CheckpointError: one is missing, cut or foreign.
        """
        self._sums.result()

    def graphs(self) -> dict[str, Graph]:
        """Return the graphs by name, when all are open and `check` has passed.

        Raises:
            CheckpointError: a file is missing, cut or foreign, or a graph cannot be run.
        """
        # First, as it is the reason where both fail.
        self.check()
        opened = {name: graph for work in self._opening for name, graph in work.result().items()}
        return {name: opened[name] for name in GRAPHS}

    def wait(self) -> None:
        """Wait until nothing is being done any more, whatever came of it."""
        for work in (self._sums, *self._opening):
            work.wait()

    def _check_files(self, sums: Mapping[str, str]) -> None:
        for name, digest in sums.items():
            check_file(self.directory / name, digest)

    def _open(self, name: str, options: Any, providers: list[Any]) -> Graph:
        path = self.directory / name
        try:
            return Graph(self._onnxruntime.InferenceSession(str(path), options, providers=providers))
        except Exception as error:  # onnxruntime's errors have no public common kind
            raise CheckpointError(
                f"{path} cannot be run",
                found=str(error).splitlines()[0],
                mend=f"Try another version of onnxruntime than {self._onnxruntime.__version__}. {AGAIN}",
            ) from error


class _Thread:
    """What a function returns or raises, worked out in a thread; importing a pool for it would take longer."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._found: Any = None
        self._error: Exception | None = None
        self._thread = Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._found = self._function()
        except Exception as error:
            self._error = error

    def wait(self) -> None:
        self._thread.join()

    def result(self) -> Any:
        self.wait()
        if self._error is not None:
            raise self._error
        return self._found


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime, for exports,", extra="onnx", cause=str(error)) from error
    return onnxruntime


def _options(onnxruntime: Any, threads: int, *, narrow: bool) -> Any:
    """Return how a graph is opened; ``narrow``: that of the encoder is in 8 bits."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Between the runs of three graphs their threads would go on spinning, where search, decoding and each other run.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if narrow and sums_overflow(platform.machine(), _CPU):
        # Three times slower where it is not needed, and then the same bits.
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


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
