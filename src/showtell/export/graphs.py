"""Exports networks as ONNX graphs: the encoder, and ``init_state`` and ``step`` of any decoder.

Torch's exporter traces them (``torch.export``, then ONNX) with dynamic axes. Its notes on files and lines of the
traced code are removed: they name folders of this machine.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from showtell.encoders.encoder import Encoder, flip_averaged_features
from showtell.encoders.features import Features
from showtell.encoders.joined import without_fusion
from showtell.errors import ExportError, import_extra
from showtell.export.state_axes import probe
from showtell.inference.onnx_config import StateTensor
from showtell.inference.onnx_files import (
    ATTENTION,
    ENCODER,
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

OPSET = 18
MAX_FILE_BYTES = 2**31 - 1
MIN_EXTERNAL_BYTES = 1024


class _EncoderGraph(nn.Module):
    """`Encoder.forward` without its data-dependent parts: the choice of a faster network, checks of values."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.network = without_fusion(encoder.network)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        normalized, flip_average = self.encoder.normalize(images), self.encoder.spec.flip_average
        maps = flip_averaged_features(self.network, normalized, flip_average=flip_average)  # [P, D, h, w]
        grid = maps.flatten(2).transpose(1, 2)  # [P, R, D]
        # Rounded to half floats, as are the features that decoders are trained on.
        regions, pooled = (part.to(torch.float16).float() for part in (grid, grid.mean(1)))
        return regions, pooled, torch.ones_like(regions[..., 0], dtype=torch.bool)


class _InitGraph(nn.Module):
    def __init__(self, decoder: Any, state: Sequence[StateTensor]) -> None:
        super().__init__()
        self.decoder, self.names = decoder, [field.name for field in state]

    def forward(self, regions: Tensor, pooled: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        state = self.decoder.init_state(Features(regions, pooled, mask), 1)
        # A graph's output must not be one of its inputs (a mask that is passed on).
        return tuple(getattr(state, name).clone() for name in self.names)


class _StepGraph(nn.Module):
    def __init__(self, decoder: Any, kind: type, state: Sequence[StateTensor]) -> None:
        super().__init__()
        self.decoder, self.kind, self.state = decoder, kind, state

    def forward(self, tokens: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        named = {field.name: tensor for field, tensor in zip(self.state, state, strict=True)}
        logits, after, attention = self.decoder.step(tokens, self.kind(**named))
        weights = () if attention is None else (attention.float(),)
        return logits, *weights, *(getattr(after, field.name) for field in self.state if not field.constant)


def check_exporter() -> None:
    """Raise MissingExtraError early if a package that writes graphs is missing."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        import_extra(package, extra="export", need=f"{package}, for exports,")


def write_encoder(encoder: Encoder, directory: Path) -> None:
    """Write ``encoder.onnx``: images uint8 [P, S, S, 3] to features; the encoder is in float32, on the CPU.

    Raises:
        ExportError: torch cannot trace the network, or it is too large for an ONNX file.
    """
    size = encoder.preprocessing.size
    images = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    dynamic = {0: torch.export.Dim("images")}
    _write(_EncoderGraph(encoder), (images,), (dynamic,), [IMAGES], FEATURES, directory / ENCODER)


def write_decoder(decoder: Any, width: int, state: Sequence[StateTensor], directory: Path) -> None:
    """Write ``init.onnx`` and ``step.onnx`` of a decoder in float32 and eval mode, on the CPU.

    Its features have ``width`` channels; ``state``, from `showtell.export.state_axes.describe_state`, defines the
    dynamic axes.

    Raises:
        ExportError: torch cannot trace the decoder.
    """
    example = probe(decoder, width)
    axes: dict[Any, Any] = {name: torch.export.Dim(name) for name in ("images", "hypotheses", "regions")}
    # Not named: its size after the step differs, which a name would forbid.
    axes["length"] = torch.export.Dim.DYNAMIC
    grid = {0: axes["images"], 1: axes["regions"]}
    inputs = [state_input(field.name) for field in state]
    _write(
        _InitGraph(decoder, state),
        (example.features.regions, example.features.pooled, example.features.mask),
        (grid, {0: axes["images"]}, grid),
        list(FEATURES),
        inputs,
        directory / INIT,
    )
    shapes = tuple(
        {index: axes[axis] for index, axis in enumerate(field.axes) if axis in axes} for field in state
    )
    changed = [state_output(field.name) for field in state if not field.constant]
    _write(
        _StepGraph(decoder, type(example.state), state),
        (example.tokens, tuple(getattr(example.state, field.name) for field in state)),
        ({0: axes["images"], 1: axes["hypotheses"]}, shapes),
        [TOKENS, *inputs],
        [LOGITS, *([ATTENTION] if example.attends else []), *changed],
        directory / STEP,
    )


def _write(
    module: nn.Module,
    examples: tuple[Any, ...],
    dynamic: tuple[Any, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    path: Path,
) -> None:
    size = sum(weight.numel() * weight.element_size() for weight in module.parameters())
    if size > MAX_FILE_BYTES:
        raise ExportError(
            f"{path.name} cannot be written",
            found=f"{size:,} bytes of weights",
            expected=f"at most {MAX_FILE_BYTES:,}, the limit of an ONNX file",
            mend="Export a captioner with a smaller encoder",
        )
    try:
        with quiet("torch.onnx", "torch.export", "onnxscript", "onnx_ir"), torch.no_grad():
            # Not by torch.onnx.export, which silently makes an axis static that cannot be dynamic.
            traced = torch.export.export(module.eval(), examples, dynamic_shapes=dynamic, strict=False)
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
    _remove_origins(program.model)
    program.save(str(path), external_data=False)
    move_weights_out(path)


def move_weights_out(path: Path) -> None:
    """Move a graph's weights into the file beside it, except small ones, which shape inference needs."""
    import onnx

    model = onnx.load(path)
    weights = path.with_name(weights_of(path.name))
    weights.unlink(missing_ok=True)  # onnx appends
    onnx.save(
        model, path, save_as_external_data=True, location=weights.name, size_threshold=MIN_EXTERNAL_BYTES
    )
    weights.touch()  # onnx writes no file if all tensors are small


def _cause(error: BaseException) -> str:
    """Return the first line of the error that caused those of torch's exporter."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _remove_origins(model: Any) -> None:
    graphs = [model.graph, *model.functions.values()]
    nodes = [node for graph in graphs for node in graph.all_nodes()]
    values = [value for node in nodes for value in node.outputs]
    for graph in graphs:
        values += [*graph.inputs, *graph.outputs, *getattr(graph, "initializers", {}).values()]
    for part in [model, *graphs, *nodes, *values]:
        part.metadata_props.clear()
        part.doc_string = None


@contextlib.contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Suppress warnings, output and the named loggers of a library that raises its errors."""
    with contextlib.ExitStack() as stack:
        for name in names:
            logger = logging.getLogger(name)
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.ERROR)
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        yield
