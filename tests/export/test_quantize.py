"""An encoder in 8 bits, for those that read earlier stages on a grid too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from showtell.config.preprocessing import Preprocessing
from showtell.encoders.encoder import EncoderSpec, build_encoder
from showtell.export.graphs import write_encoder
from showtell.export.quantize import quantize
from showtell.export.samples import draw_samples
from showtell.inference.onnx_files import ENCODER, IMAGES
from showtell.inference.onnx_sessions import Graph

PREPROCESSING = Preprocessing(size=96)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("grid", "flip_average"),
    [(2, False), (4, False), (2, True)],
    ids=["coarser than the last map", "finer", "mirror images too"],
)
def test_earlier_stages_joined_on_a_grid_are_seen_nearly_the_same(
    resnet18_weights: Path, tmp_path: Path, grid: int, flip_average: bool
) -> None:
    spec = EncoderSpec(
        name="resnet18",
        out_stages=(3, 4),
        region_grid=grid,
        preprocessing=PREPROCESSING,
        flip_average=flip_average,
    )
    encoder = build_encoder(spec, weights=resnet18_weights, dtype=torch.float32)
    write_encoder(encoder, tmp_path)
    samples = draw_samples(6, PREPROCESSING)

    def look() -> np.ndarray:
        options = onnxruntime.SessionOptions()
        # Sums that a processor without 8-bit dot products would cut are another matter.
        options.add_session_config_entry("session.x64quantprecision", "1")
        session = onnxruntime.InferenceSession(tmp_path / ENCODER, options, ["CPUExecutionProvider"])
        return Graph(session)({IMAGES: samples.images})["regions"]

    whole = look()
    exact = encoder(torch.from_numpy(samples.images)).regions.numpy()
    np.testing.assert_allclose(whole, exact, rtol=2e-3, atol=2e-3)
    quantize(tmp_path, samples)
    narrow = look()
    assert whole.shape == (6, grid * grid, 256 + 512)
    error = np.sqrt(((whole - narrow) ** 2).sum() / (whole**2).sum())
    assert 0 < error < 0.1
