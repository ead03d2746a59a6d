"""Decoders at toy size as graphs, for every name in the registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from showtell.checkpoints.checkpoint import load_checkpoint
from showtell.config.decoders import DecoderSpec
from showtell.decoders.registry import DECODERS, build_decoder
from showtell.export.graphs import write_decoder
from showtell.export.state_axes import describe_state
from showtell.inference.onnx_backend import Graph, OnnxDecoder
from showtell.inference.onnx_config import StateTensor
from showtell.inference.onnx_files import INIT, STEP

WIDTH, VOCABULARY = 8, 11
SMALL = {"heads": 2, "layers": 2}


@dataclass(frozen=True)
class Pair:
    """A decoder as torch runs it, and as its export does."""

    torch: Any
    exported: OnnxDecoder
    state: tuple[StateTensor, ...]
    width: int = WIDTH  # of the features


def small_spec(name: str) -> Any:
    """A spec of a decoder with every width at 8, whatever fields it has."""
    (kind,) = (one for one in get_args(get_args(DecoderSpec)[0]) if one.model_fields["name"].default == name)
    widths = {
        field: 8 for field, info in kind.model_fields.items() if info.annotation is int and info.default > 32
    }
    return kind(**widths, **{field: size for field, size in SMALL.items() if field in kind.model_fields})


def open_graph(path: Path) -> Graph:
    import onnxruntime

    return Graph(onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]))


def export_pair(decoder: Any, width: int, directory: Path) -> Pair:
    state = describe_state(decoder, width)
    write_decoder(decoder, width, state, directory)
    return open_pair(decoder, state, directory)


def open_pair(decoder: Any, state: tuple[StateTensor, ...], directory: Path) -> Pair:
    exported = OnnxDecoder(open_graph(directory / INIT), open_graph(directory / STEP), state)
    return Pair(decoder, exported, state)


@pytest.fixture(scope="session", autouse=True)
def _translations(onnx_translations: None) -> None:
    pass


@pytest.fixture(scope="session")
def export_decoder() -> Callable[[Any, int, Path], Any]:
    """Write a decoder into a directory and open it: a pair of ``torch`` and ``exported``, and its ``state``."""
    return export_pair


# Each takes four seconds to trace.
TRACED = [pytest.param(name, marks=pytest.mark.thorough) for name in sorted(DECODERS)]


@pytest.fixture(scope="session", params=["exported", *TRACED])
def pair(
    request: pytest.FixtureRequest,
    make_once: Callable[[str, Callable[[Path], None]], Path],
    tiny_checkpoint: Callable[[str], Path],
) -> Pair:
    """The export that tests share, and every decoder that the registry has.

    All have large weights: no two words are nearly as likely.
    """
    if request.param == "exported":
        directory = request.getfixturevalue("exported").directory
        ready = load_checkpoint(tiny_checkpoint("attention")).model.decoder
        return replace(open_pair(ready, describe_state(ready, 16), directory), width=16)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        decoder = build_decoder(
            small_spec(request.param), vocabulary=VOCABULARY, encoder_width=WIDTH, pad_id=0
        ).eval()
        for weight in decoder.parameters():
            torch.nn.init.normal_(weight)
    state = describe_state(decoder, WIDTH)
    place = make_once(
        f"export-{request.param}", lambda directory: write_decoder(decoder, WIDTH, state, directory)
    )
    return open_pair(decoder, state, place)
