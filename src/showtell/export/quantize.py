"""Quantizes the graphs to 8 bits: weights per channel, activations by the ranges of calibration images.

Static quantization in onnxruntime's QDQ form: every runtime that can computes the operations between a quantize and a
dequantize node on integers. In the encoder that is everything but the average pooling onto a grid, which is not
learned; in the decoder the products with weights. Ranges that followed each batch would let a caption depend on the
other images of its batch.
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from showtell.checkpoints.checkpoint import Checkpoint
from showtell.export.graphs import move_weights_out, quiet
from showtell.export.samples import Samples
from showtell.generation import SpecialTokens, search
from showtell.inference.onnx_config import StateTensor
from showtell.inference.onnx_files import ENCODER, FEATURES, IMAGES, INIT, STEP, TOKENS, state_input

BATCH_SIZE = 8
ENCODER_OPERATIONS = ("Conv", "Gemm", "MatMul", "Add", "Relu", "MaxPool")
DECODER_OPERATIONS = ("Gemm", "MatMul")
DECODER_OPTIONS = {"OpTypesToExcludeOutputQuantization": list(DECODER_OPERATIONS)}
MIN_WIDTH = 64
"""A decoder's products with fewer outputs stay in float32: quantizing their input would take longer."""

Inputs = dict[str, npt.NDArray[Any]]


def quantize_encoder(directory: Path, calibration: Samples) -> None:
    """Replace the ``encoder.onnx`` of a directory by one in 8 bits.

    The activations of the calibration images, which are like those it will encode, define the ranges.
    """
    path = directory / ENCODER
    inputs = ({IMAGES: batch} for batch in _batches(calibration))
    _quantize(path, inputs, ENCODER_OPERATIONS, _pooling_products(path))


def quantize_decoder(
    directory: Path, loaded: Checkpoint, state: Sequence[StateTensor], calibration: Samples
) -> None:
    """Replace the ``init.onnx`` and ``step.onnx`` of a directory, those of a checkpoint, by graphs in 8 bits.

    The activations of the checkpoint's captions of the calibration images, by its own options, define the ranges.
    """
    recorded = _record(loaded, state, _batches(calibration))
    for name, inputs in zip((INIT, STEP), recorded, strict=True):
        path = directory / name
        _split_products(path)
        _quantize(path, inputs, DECODER_OPERATIONS, _small_products(path), DECODER_OPTIONS)


def _batches(samples: Samples) -> list[npt.NDArray[np.uint8]]:
    return [samples.images[start : start + BATCH_SIZE] for start in range(0, len(samples.images), BATCH_SIZE)]


def _quantize(
    path: Path,
    inputs: Iterable[Inputs],
    operations: Sequence[str],
    excluded: Sequence[str],
    options: Mapping[str, Any] | None = None,
) -> None:
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.inputs = iter(inputs)

        def get_next(self) -> Inputs | None:
            return next(self.inputs, None)

    # onnxruntime's root logger advises to preprocess a graph that is folded and has its shapes already.
    with quiet(""), tempfile.TemporaryDirectory(prefix="showtell-") as folder:
        quantized = Path(folder) / path.name
        quantization.quantize_static(
            path,
            quantized,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(operations),
            nodes_to_exclude=list(excluded),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            extra_options=options,
        )
        path.write_bytes(quantized.read_bytes())
        move_weights_out(path)


class _RecordingDecoder:
    """A decoder of torch that records what the step graph reads."""

    def __init__(self, decoder: Any, state: Sequence[StateTensor]) -> None:
        self._decoder, self._names = decoder, [tensor.name for tensor in state]
        self.init_state, self.inputs = decoder.init_state, list[Inputs]()

    def step(self, tokens: torch.Tensor, state: Any) -> Any:
        """Return the decoder's step."""
        tensors = {state_input(name): getattr(state, name).numpy() for name in self._names}
        self.inputs.append({TOKENS: tokens.numpy(), **tensors})
        return self._decoder.step(tokens, state)


def _record(
    loaded: Checkpoint, state: Sequence[StateTensor], batches: Sequence[npt.NDArray[np.uint8]]
) -> tuple[list[Inputs], list[Inputs]]:
    """Return what both graphs of the decoder read while the checkpoint captions images uint8 [P, S, S, 3]."""
    decoder, specials = _RecordingDecoder(loaded.model.decoder, state), SpecialTokens.of(loaded.tokenizer)
    init_inputs = []
    with torch.inference_mode():
        for batch in batches:
            features = loaded.encoder(torch.from_numpy(batch))
            init_inputs.append({name: getattr(features, name).numpy() for name in FEATURES})
            search(decoder, features, loaded.generation, specials)
    return init_inputs, decoder.inputs


def _split_products(path: Path) -> None:
    """Turn products of joined activations into sums of products, so that each activation has a range of its own.

    An LSTM's state would lose its precision to a context of ten times the range.
    """
    from onnx import helper, load_model, numpy_helper, save_model, shape_inference

    model = shape_inference.infer_shapes(load_model(path))
    graph, nodes = model.graph, []
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    values = (*graph.input, *graph.value_info, *graph.output)
    shapes = {value.name: [size.dim_value for size in value.type.tensor_type.shape.dim] for value in values}
    joined = {
        node.output[0]: node.input
        for node in graph.node
        if node.op_type == "Concat" and node.attribute[0].i in (-1, len(shapes[node.output[0]]) - 1)
    }
    for node in graph.node:
        if node.op_type != "MatMul" or node.input[0] not in joined or node.input[1] not in weights:
            nodes.append(node)
            continue
        parts = joined[node.input[0]]
        ends = np.cumsum([shapes[part][-1] for part in parts])
        products = [f"{node.output[0]}_{part}" for part in parts]
        for part, product, block in zip(
            parts, products, np.split(weights[node.input[1]], ends[:-1]), strict=True
        ):
            weight = numpy_helper.from_array(np.ascontiguousarray(block), f"{product}_weight")
            graph.initializer.append(weight)
            nodes.append(helper.make_node("MatMul", [part, weight.name], [product], product))
        nodes.append(helper.make_node("Sum", products, list(node.output), f"{node.output[0]}_sum"))
    used = {name for node in nodes for name in node.input}
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    for field, replaced in ((graph.node, nodes), (graph.initializer, tensors)):
        del field[:]
        field.extend(replaced)
    save_model(model, path)
    move_weights_out(path)


def _small_products(path: Path) -> list[str]:
    """Return the names of the products that are not with weights, or with few outputs."""
    from onnx import load_model

    graph = load_model(path, load_external_data=False).graph
    weights = {tensor.name: tensor.dims for tensor in graph.initializer}
    products = [node for node in graph.node if node.op_type in DECODER_OPERATIONS]
    return [node.name for node in products if min(weights.get(node.input[1], [0])) < MIN_WIDTH]


def _pooling_products(path: Path) -> list[str]:
    """Return the names of the products of `showtell.encoders.resnet.adaptive_avg_pool`: constants times activations.

    Their constant is on the left, where onnxruntime's integer products take no scale per row; the product of their
    output belongs to them.
    """
    from onnx import load_model

    graph = load_model(path, load_external_data=False).graph
    products = [node for node in graph.node if node.op_type == "MatMul"]
    constants = {tensor.name for tensor in graph.initializer}
    outputs = {node.output[0] for node in products if node.input[0] in constants}
    return [node.name for node in products if node.input[0] in constants | outputs]
