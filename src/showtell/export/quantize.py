"""The encoder's convolutions in 8 bits: weights per channel, activations by the ranges that pictures showed.

Static quantisation in onnxruntime's QDQ form: what stands between a quantise and a dequantise node is computed on
integers by every runtime that can. The decoder stays in float32: it is small beside the encoder. So do the means over
the cells of a grid, which are not learned.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from showtell.export.graphs import move_weights_out
from showtell.export.samples import Samples
from showtell.inference.onnx_files import ENCODER, PICTURES

AT_ONCE = 8
OPERATIONS = ("Conv", "Gemm", "MatMul", "Add", "Relu", "MaxPool")


def quantize(directory: Path, ranges: Samples) -> None:
    """Replace a directory's ``encoder.onnx`` by one in 8 bits.

    Args:
        directory: Holds the graphs.
        ranges: Pictures like those it shall see; their ranges become the encoder's.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Pictures(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.starts = iter(range(0, len(ranges.pictures), AT_ONCE))

        def get_next(self) -> dict[str, Any] | None:
            start = next(self.starts, None)
            return None if start is None else {PICTURES: ranges.pictures[start : start + AT_ONCE]}

    with _quiet(), tempfile.TemporaryDirectory(prefix="showtell-") as folder:
        narrow = Path(folder) / ENCODER
        quantize_static(
            directory / ENCODER,
            narrow,
            Pictures(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(OPERATIONS),
            nodes_to_exclude=_means_over_cells(directory / ENCODER),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        (directory / ENCODER).write_bytes(narrow.read_bytes())
        move_weights_out(directory / ENCODER)


def _means_over_cells(path: Path) -> list[str]:
    """Return the names of the products of `showtell.encoders.resnet.adaptive_avg_pool`: constants times what is seen.

    Their constant is on the left, where onnxruntime's products on integers take no scale for each row; the product
    that follows belongs to them.
    """
    from onnx import load_model

    graph = load_model(path, load_external_data=False).graph
    products = [node for node in graph.node if node.op_type == "MatMul"]
    constants = {one.name for one in graph.initializer}
    made = {node.output[0] for node in products if node.input[0] in constants}
    return [node.name for node in products if node.input[0] in constants | made]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep onnxruntime's advice to preprocess to itself: the graph comes folded and with its shapes."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
