"""Opens the graphs of an export in threads, to shorten a cold start.

Onnxruntime loads weights without Python's interpreter lock, and so does hashing; Python imports modules meanwhile.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from showtell.errors import CheckpointError, ConfigError, import_extra
from showtell.inference.onnx_files import ENCODER, EXPORT_AGAIN, INIT, STEP, check_file, read_outline
from showtell.system.atomic import resolve_swapped
from showtell.system.cpu import thread_count

if TYPE_CHECKING:
    import numpy.typing as npt

_CPU_INFO = Path("/proc/cpuinfo")
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Graph:
    """One ONNX graph in an onnxruntime session."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs = {tensor.name for tensor in session.get_inputs()}
        self.outputs = [tensor.name for tensor in session.get_outputs()]

    def __call__(self, values: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Return the outputs by name; values that are not inputs are ignored."""
        inputs = {name: value for name, value in values.items() if name in self.inputs}
        return dict(zip(self.outputs, self._session.run(None, inputs), strict=True))


class OnnxSessionLoader:
    """Opens an export's graphs in threads, from construction on.

    Args:
        path: The export.
        device: ``cpu``, ``cuda``, ``cuda:1``; ``auto`` is a GPU if onnxruntime can use one.
        threads: CPU threads of a graph; see `showtell.system.cpu.thread_count`.

    Raises:
        CheckpointError: not an export, or of another format.
        ConfigError: no such device.
        MissingExtraError: onnxruntime is not installed.
    """

    def __init__(self, path: Path, *, device: str = "auto", threads: int = 0) -> None:
        self.directory, self.threads = resolve_swapped(path), thread_count(threads)
        outline = read_outline(self.directory)

        def check_files() -> None:
            for name, digest in outline["files"].items():
                check_file(self.directory / name, digest)

        self._check = _Task(check_files)
        # The slowest import of all, while the other thread reads the files.
        self._onnxruntime = import_extra("onnxruntime", extra="onnx", need="onnxruntime, for exports,")
        providers = _providers(device, self._onnxruntime.get_available_providers())
        self.place = "cpu" if providers == [_PROVIDERS["cpu"]] else "cuda"
        encoder = outline.get("encoder")
        int8 = isinstance(encoder, dict) and encoder.get("precision") == "int8"
        options = _session_options(self._onnxruntime, self.threads, int8=int8)

        def open_graphs(*names: str) -> dict[str, Graph]:
            return {name: self._open(name, options, providers) for name in names}

        # The encoder takes longer than both others.
        self._opening = [_Task(lambda: open_graphs(ENCODER)), _Task(lambda: open_graphs(INIT, STEP))]

    def check(self) -> None:
        """Wait until all files are checked; a CheckpointError if one is missing, truncated or foreign."""
        self._check.result()

    def graphs(self) -> dict[str, Graph]:
        """Return the graphs by name, when all are open; a CheckpointError if one cannot be run."""
        self.check()  # first, since a broken file is the reason if both fail
        return {name: graph for thread in self._opening for name, graph in thread.result().items()}

    def wait(self) -> None:
        """Wait until no thread runs, also after errors."""
        for thread in (self._check, *self._opening):
            thread.join()

    def _open(self, name: str, options: Any, providers: list[Any]) -> Graph:
        path = self.directory / name
        try:
            return Graph(self._onnxruntime.InferenceSession(str(path), options, providers=providers))
        except Exception as error:  # onnxruntime's errors have no public base class
            raise CheckpointError(
                f"{path} cannot be run",
                found=str(error).splitlines()[0],
                mend=f"Try another version of onnxruntime than {self._onnxruntime.__version__}. {EXPORT_AGAIN}",
            ) from error


class _Task(Thread):
    """Runs a function in a thread; importing concurrent.futures would take longer."""

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__()
        self._function, self._result = function, None
        self._error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._function()
        except Exception as error:
            self._error = error

    def result(self) -> Any:
        self.join()
        if self._error is not None:
            raise self._error
        return self._result


def _session_options(onnxruntime: Any, threads: int, *, int8: bool) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Between runs, the threads of the three graphs would spin and slow down the search and each other.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if int8 and int8_overflows(platform.machine(), _CPU_INFO):
        # Elsewhere it would be three times slower, with the same result.
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def _providers(device: str, available: list[str]) -> list[Any]:
    """Return onnxruntime's execution providers for a device."""
    name, _, number = device.partition(":")
    if name == "auto":
        name = "cuda" if _PROVIDERS["cuda"] in available else "cpu"
    if _PROVIDERS.get(name) not in available or (number and not (name == "cuda" and number.isdigit())):
        usable = [known for known, provider in _PROVIDERS.items() if provider in available]
        raise ConfigError(
            f"the device '{device}' cannot be used with an export",
            found=f"an onnxruntime for {', '.join(available)}",
            expected=" or ".join(("auto", *usable)),
        )
    if name == "cpu":
        return [_PROVIDERS["cpu"]]
    return [(_PROVIDERS["cuda"], {"device_id": number or "0"}), _PROVIDERS["cpu"]]


def int8_overflows(machine: str, cpu_info: Path) -> bool:
    """Return whether sums of 8-bit products may overflow: on x86 whose Linux description has neither VNNI nor AMX."""
    if machine.lower() not in {"x86_64", "amd64"}:
        return False
    try:
        flags = set(cpu_info.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return True
    return flags.isdisjoint({"avx512_vnni", "avx_vnni", "amx_int8"})
