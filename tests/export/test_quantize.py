"""Encoders in 8 bits, for those that read earlier stages on a grid too, and decoders."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import load_model
from tests.export.conftest import export_pair, open_pair, small_spec

from showtell.config.generation import DecodingOptions
from showtell.config.preprocessing import Preprocessing
from showtell.decoders.registry import DECODERS, build_decoder
from showtell.encoders.encoder import EncoderSpec, build_encoder
from showtell.encoders.features import Features
from showtell.export.graphs import write_encoder
from showtell.export.quantize import quantize_decoder, quantize_encoder
from showtell.export.samples import Samples, draw_samples
from showtell.inference.onnx_backend import ArrayFeatures, OnnxDecoder
from showtell.inference.onnx_files import ENCODER, IMAGES, STEP
from showtell.inference.onnx_sessions import Graph
from showtell.tokenizer import Tokenizer

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
    quantize_encoder(tmp_path, samples)
    narrow = look()
    assert whole.shape == (6, grid * grid, 256 + 512)
    error = np.sqrt(((whole - narrow) ** 2).sum() / (whole**2).sum())
    assert 0 < error < 0.1


@pytest.mark.parametrize("name", sorted(DECODERS))
def test_a_decoder_in_8_bits_is_nearly_the_same_and_the_same_in_any_batch(tmp_path: Path, name: str) -> None:
    spec = small_spec(name)
    wide = spec.model_copy(
        update={field: 64 for field, size in spec.model_dump().items() if size == 8 and field != "heads"}
    )
    torch.manual_seed(0)
    tokenizer = Tokenizer.fit([" ".join(f"w{number}" for number in range(76))], min_count=1)
    decoder = build_decoder(wide, vocabulary=tokenizer.size, encoder_width=64, pad_id=tokenizer.pad_id).eval()
    for weight in decoder.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    grid = torch.rand(6, 5, 64)
    features = Features(grid, grid.mean(1), torch.ones(6, 5, dtype=torch.bool))
    pair = export_pair(decoder, 64, tmp_path)
    model = SimpleNamespace(decoder=decoder)
    generation = DecodingOptions(beam_size=2, max_tokens=6)
    numbered = np.arange(6, dtype=np.uint8)[:, None, None, None]
    loaded: Any = SimpleNamespace(
        encoder=lambda images: features[images[:, 0, 0, 0].long()],
        model=model,
        tokenizer=tokenizer,
        generation=generation,
    )
    quantize_decoder(tmp_path, loaded, pair.state, Samples(numbered, []))
    narrow = open_pair(decoder, pair.state, tmp_path).exported
    assert "DequantizeLinear" in {node.op_type for node in load_model(tmp_path / STEP).graph.node}

    def run(exported: OnnxDecoder, images: list[int]) -> list[np.ndarray]:
        chosen = features[torch.tensor(images)]
        arrays = ArrayFeatures(chosen.regions.numpy(), chosen.pooled.numpy(), chosen.mask.numpy())
        state, logits = exported.init_state(arrays, 2), []
        for token in (1, 7, 9):
            step, state, _ = exported.step(np.array([[token, token + 1]] * len(images)), state)
            logits.append(step)
        return logits

    together = run(narrow, [0, 1, 2, 3, 4, 5])
    for one, exact in zip(together, run(pair.exported, [0, 1, 2, 3, 4, 5]), strict=True):
        assert 0 < np.sqrt(((one - exact) ** 2).sum() / (exact**2).sum()) < 0.1
    for few in ([4], [5, 2]):
        for one, alone in zip(together, run(narrow, few), strict=True):
            np.testing.assert_array_equal(one[few], alone)
