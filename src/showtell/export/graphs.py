"""Networks to ONNX graphs: the encoder, and a decoder's ``init_state`` and ``step``, whatever its state is made of.

Torch's own exporter traces them (``torch.export``, then ONNX) with axes left free. What it notes beside the nodes
(files and lines of the code that was traced) is taken out: it names this machine's folders.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from showtell.encoders.encoder import Encoder, flip_averaged_features
from showtell.encoders.features import Features
from showtell.errors import ExportError, MissingExtraError
from showtell.export.state_axes import StateProbe, probe
from showtell.inference.onnx_config import StateTensor
from showtell.inference.onnx_files import (
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
    weights_of,
)

OPSET = 18
LARGEST_FILE = 2**31 - 1
SMALLEST_MOVED_BYTES = 1024
EXTRA = "export"


class _EncoderGraph(nn.Module):
    """`Encoder.forward` without what a graph cannot do: choose a faster network, look at its numbers."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.network = getattr(encoder.network, "plain", encoder.network)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        twice = self.encoder.spec.flip_average
        maps = flip_averaged_features(
            self.network, self.encoder.normalize(pictures), flip_average=twice
        )  # [P, D, h, w]
        seen = maps.flatten(2).transpose(1, 2)  # [P, R, D]
        # Rounded to half floats like all features, so that they are the numbers that decoders were trained on.
        regions, pooled = (part.to(torch.float16).float() for part in (seen, seen.mean(1)))
        return regions, pooled, torch.ones_like(regions[..., 0], dtype=torch.bool)


class _InitGraph(nn.Module):
    def __init__(self, decoder: Any, state: Sequence[StateTensor]) -> None:
        super().__init__()
        self.decoder, self.names = decoder, [one.name for one in state]

    def forward(self, regions: Tensor, pooled: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        state = self.decoder.init_state(Features(regions, pooled, mask), 1)
        # A graph's output may be no input of it (a mask that is handed on).
        return tuple(getattr(state, name).clone() for name in self.names)


class _StepGraph(nn.Module):
    def __init__(self, decoder: Any, kind: type, state: Sequence[StateTensor]) -> None:
        super().__init__()
        self.decoder, self.kind, self.state = decoder, kind, state

    def forward(self, tokens: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        named = {one.name: tensor for one, tensor in zip(self.state, state, strict=True)}
        logits, after, attention = self.decoder.step(tokens, self.kind(**named))
        looked = () if attention is None else (attention.float(),)
        return logits, *looked, *(getattr(after, one.name) for one in self.state if not one.constant)


def check_exporter() -> None:
    """Refuse at once where the packages that write graphs are missing.

    Raises:
        MissingExtraError: onnx, onnxscript or onnxruntime.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise MissingExtraError(f"{package}, for exports,", extra=EXTRA, cause=str(error)) from error


def write_encoder(encoder: Encoder, directory: Path) -> None:
    """Write ``encoder.onnx``: uint8 pictures [P, S, S, 3] in, features out.

    Args:
        encoder: In float32, on the CPU.
        directory: Where.

    Raises:
        ExportError: torch cannot trace the network, or it is larger than ONNX files may be.
    """
    size = encoder.preprocessing.size
    pictures = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    free = {0: torch.export.Dim("pictures")}
    _write(_EncoderGraph(encoder), (pictures,), (free,), [PICTURES], FEATURES, directory / ENCODER)


def write_decoder(decoder: Any, width: int, state: Sequence[StateTensor], directory: Path) -> None:
    """Write ``begin.onnx`` and ``step.onnx``; what the state is made of says which axes stay free.

    Args:
        decoder: In float32 and eval mode, on the CPU.
        width: Channels D of its features.
        state: From `showtell.export.state_axes.describe_state`.
        directory: Where.

    Raises:
        ExportError: torch cannot trace it.
    """
    tried = probe(decoder, width)
    axes: dict[Any, Any] = {name: torch.export.Dim(name) for name in ("pictures", "hypotheses", "regions")}
    # Not named: it comes back longer, which a name would forbid.
    axes["length"] = torch.export.Dim.DYNAMIC
    features = (tried.features.regions, tried.features.pooled, tried.features.mask)
    grid = {0: axes["pictures"], 1: axes["regions"]}
    _write(
        _InitGraph(decoder, state),
        features,
        (grid, {0: axes["pictures"]}, grid),
        list(FEATURES),
        [state_input(one.name) for one in state],
        directory / BEGIN,
    )
    shapes = tuple(
        {place: axes[axis] for place, axis in enumerate(one.axes) if axis in axes} for one in state
    )
    _write(
        _StepGraph(decoder, type(tried.state), state),
        (tried.tokens, tuple(getattr(tried.state, one.name) for one in state)),
        ({0: axes["pictures"], 1: axes["hypotheses"]}, shapes),
        [TOKENS, *(state_input(one.name) for one in state)],
        _step_outputs(tried, state),
        directory / STEP,
    )


def _step_outputs(tried: StateProbe, state: Sequence[StateTensor]) -> list[str]:
    looked = [ATTENTION] if tried.attends else []
    return [LOGITS, *looked, *(state_output(one.name) for one in state if not one.constant)]


def _write(
    module: nn.Module,
    examples: tuple[Any, ...],
    free: tuple[Any, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    path: Path,
) -> None:
    try:
        with _quiet(), torch.no_grad():
            # Here and not in torch.onnx.export, which fixes an axis that cannot stay free and says nothing.
            traced = torch.export.export(module.eval(), examples, dynamic_shapes=free, strict=False)
            program = torch.onnx.export(
                traced,
                dynamo=True,
                input_names=inputs,
                output_names=outputs,
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
    except (torch._dynamo.exc.UserError, RuntimeError, ValueError) as error:
        raise ExportError(f"{path.name} cannot be written", found=_cause(error)) from error
    assert program is not None
    _forget_origins(program.model)
    if _bytes_of(module) > LARGEST_FILE:
        raise ExportError(
            f"{path.name} cannot be written",
            found=f"{_bytes_of(module):,} bytes of weights",
            expected=f"at most {LARGEST_FILE:,}, the most that an ONNX file may hold",
            mend="Export a captioner with a smaller encoder",
        )
    program.save(str(path), external_data=False)
    move_weights_out(path)


def move_weights_out(path: Path) -> None:
    """Move the weights that a graph holds into the file beside it, see `showtell.inference.onnx_files.weights_of`.

    Small tensors stay: shapes are worked out from them.
    """
    import onnx

    model = onnx.load(path)
    beside = path.with_name(weights_of(path.name))
    beside.unlink(missing_ok=True)  # onnx appends
    onnx.save(
        model, path, save_as_external_data=True, location=beside.name, size_threshold=SMALLEST_MOVED_BYTES
    )
    beside.touch()  # of a graph of small tensors alone there is none


def _bytes_of(module: nn.Module) -> int:
    return sum(weight.numel() * weight.element_size() for weight in module.parameters())


def _cause(error: BaseException) -> str:
    """Return the first line of the error that torch's exporter met underneath its own."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _forget_origins(model: Any) -> None:
    graphs = [model.graph, *model.functions.values()]
    for holder in [model, *graphs]:
        _forget(holder)
    for graph in graphs:
        for value in [*graph.inputs, *graph.outputs, *getattr(graph, "initializers", {}).values()]:
            _forget(value)
        for node in graph.all_nodes():
            _forget(node)
            for value in node.outputs:
                _forget(value)


def _forget(thing: Any) -> None:
    properties: Mapping[str, str] | None = getattr(thing, "metadata_props", None)
    if properties:
        thing.metadata_props.clear()
    if getattr(thing, "doc_string", None):
        thing.doc_string = None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what the exporter prints and warns of while it works; what it cannot do, it raises."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
