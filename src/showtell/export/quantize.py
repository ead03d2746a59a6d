"""Quantizes the encoder to 8 bits: weights per channel, activations by the ranges of calibration images.

Static quantization in onnxruntime's QDQ form: every runtime that can computes the operations between a quantize and a
dequantize node on integers. The decoder, small beside the encoder, stays in float32, as does the average pooling onto
a grid, which is not learned.
"""

import tempfile
from pathlib import Path
from typing import Any

from showtell.export.graphs import move_weights_out, quiet
from showtell.export.samples import Samples
from showtell.inference.onnx_files import ENCODER, IMAGES

BATCH_SIZE = 8
OPERATIONS = ("Conv", "Gemm", "MatMul", "Add", "Relu", "MaxPool")


def quantize(directory: Path, calibration: Samples) -> None:
    """Replace the ``encoder.onnx`` of a directory by one in 8 bits.

    The activations of the calibration images, which are like those it will encode, define the ranges.
    """
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.starts = iter(range(0, len(calibration.images), BATCH_SIZE))

        def get_next(self) -> dict[str, Any] | None:
            start = next(self.starts, None)
            return None if start is None else {IMAGES: calibration.images[start : start + BATCH_SIZE]}

    # onnxruntime's root logger advises to preprocess a graph that is folded and has its shapes already.
    with quiet(""), tempfile.TemporaryDirectory(prefix="showtell-") as folder:
        quantized = Path(folder) / ENCODER
        quantization.quantize_static(
            directory / ENCODER,
            quantized,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(OPERATIONS),
            nodes_to_exclude=_pooling_products(directory / ENCODER),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )
        (directory / ENCODER).write_bytes(quantized.read_bytes())
        move_weights_out(directory / ENCODER)


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
