"""The forms in which the encoder's network can run on the same batches: the plain one, the package's, and others.

The others are what one may find elsewhere for the same weights: OpenVINO where it is installed, and PyTorch's own
compiler with frozen weights on request, for it takes a minute.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness import Work
from showtell.encoders.encoder import Encoder
from showtell.images.load import load_image
from showtell.images.preprocess import preprocess_image

BATCH = 32


def prepared_batches(encoder: Encoder, paths: Sequence[Path]) -> list[Tensor]:
    """Return normalized images float [P, 3, S, S] as the network takes them, in batches of 32."""
    images = [preprocess_image(load_image(path), encoder.preprocessing) for path in paths]
    chunks = (images[start : start + BATCH] for start in range(0, len(images), BATCH))
    return [encoder.normalize(torch.from_numpy(np.stack(chunk))) for chunk in chunks]


def plain_network(encoder: Encoder) -> nn.Module:
    """Return the bare network: eager PyTorch, batch norms folded, channels last, in the encoder's dtype."""
    network: nn.Module = getattr(encoder.network, "plain", encoder.network)
    return network


def passes(network: Callable[[Tensor], Any], batches: Sequence[Tensor]) -> Work:
    """Return the work of encoding all batches."""

    def encode() -> None:
        with torch.inference_mode():
            for batch in batches:
                network(batch)
        if batches[0].is_cuda:
            torch.cuda.synchronize()

    return encode


def other_forms(encoder: Encoder, batches: Sequence[Tensor], *, compiled: bool) -> dict[str, Work]:
    """Return the encoder's network in forms that the package may not have, by name."""
    plain, forms = plain_network(encoder), {}
    if importlib.util.find_spec("openvino") and not batches[0].is_cuda:
        forms["OpenVINO"] = _openvino(plain, batches)
    if compiled:
        import torch._inductor.config as inductor

        inductor.freezing = True
        forms["torch.compile, frozen"] = passes(torch.compile(plain), batches)
    return forms


def _openvino(plain: nn.Module, batches: Sequence[Tensor]) -> Work:
    import openvino

    precise = [batch.float().numpy() for batch in batches]
    model = openvino.convert_model(_in_float32(plain), example_input=torch.from_numpy(precise[0][:1]))
    hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    if batches[0].dtype == torch.bfloat16:
        hints["INFERENCE_PRECISION_HINT"] = "bf16"
    network = openvino.compile_model(model, "CPU", hints)

    def encode() -> None:
        # Several requests at once: its fastest way.
        queue = openvino.AsyncInferQueue(network)
        for batch in precise:
            queue.start_async(batch)
        queue.wait_all()

    return encode


def _in_float32(network: nn.Module) -> nn.Module:
    import copy

    return copy.deepcopy(network).float()
