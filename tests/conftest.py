"""Fixtures that several tests share."""

from __future__ import annotations

import gc
import hashlib
import io
import ipaddress
import json
import os
import pickle
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import settings
from PIL import Image

from showtell.config.recipe import Recipe, parse_recipe
from showtell.data.prepared import PreparedSet, prepare

# Threads cost more than they save on these tiny networks. Torch reads it when it is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Imports and collection make no garbage: the collector's passes over them take a third of their time.
gc.disable()

settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=40)
settings.load_profile("fixed")

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def is_this_machine(host: Any) -> bool:
    """Return whether a host, as `socket` takes it, is this machine."""
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost", socket.gethostname()):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


@pytest.fixture(scope="session", autouse=True)
def _guarded_sockets() -> Iterator[list[str]]:
    """Refuse, and record, every connection and look-up that leaves this machine."""
    tried: list[str] = []
    patch = pytest.MonkeyPatch()

    def guard(owner: Any, name: str, host_of: Callable[..., Any]) -> None:
        original = getattr(owner, name)

        def guarded(*arguments: Any, **options: Any) -> Any:
            host = host_of(*arguments, **options)
            if not is_this_machine(host):
                tried.append(f"{name} {host}")
                raise ConnectionRefusedError(f"no network in tests: {name} {host}")
            return original(*arguments, **options)

        patch.setattr(owner, name, guarded)

    def host_of_address(self: socket.socket, *arguments: Any) -> Any:
        is_internet = self.family in (socket.AF_INET, socket.AF_INET6)
        return arguments[-1][0] if is_internet else None

    for name in ("connect", "connect_ex", "sendto"):
        guard(socket.socket, name, host_of_address)
    guard(socket, "getaddrinfo", lambda host, *rest, **options: host)
    guard(socket, "gethostbyname", lambda host: host)
    yield tried
    patch.undo()


@pytest.fixture(autouse=True)
def no_network(_guarded_sockets: list[str]) -> Iterator[list[str]]:
    """Fail a test that tried to use the network, even if its code swallowed the refusal."""
    _guarded_sockets.clear()
    yield _guarded_sockets
    assert _guarded_sockets == [], "no network in tests"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data and weights, or a skip that names what is missing."""
    folder = Path(os.environ.get("SHOWTELL_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real data at {folder} (set SHOWTELL_SHARED)")
    return folder


@pytest.fixture(scope="session")
def graphics_card() -> str:
    """The name of a GPU to run on, or a skip."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no graphics card")
    return "cuda"


@pytest.fixture(scope="session")
def resnet18_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of an untrained ResNet-18, always the same."""
    import torch
    from safetensors.torch import save_file

    from showtell.encoders.resnet import ResNet

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    save_file(ResNet(18).state_dict(), path)
    return path


@pytest.fixture(scope="session")
def write_images() -> Callable[[Path, Iterable[str]], None]:
    """Write a small PNG under each name (whatever its suffix), with pixels derived from the name."""

    def write(folder: Path, names: Iterable[str]) -> None:
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.frombytes("RGB", (4, 2), hashlib.sha256(name.encode()).digest()[:24]).save(path, "PNG")

    return write


@pytest.fixture(scope="session")
def tiny_jpeg() -> Callable[[str], bytes]:
    """The bytes of a small JPEG with color and comment derived from a name: other names, other bytes."""

    def make(name: str) -> bytes:
        color = tuple(hashlib.sha256(name.encode()).digest()[:3])
        encoded = io.BytesIO()
        Image.new("RGB", (8, 6), color).save(encoded, "JPEG", comment=name.encode())
        return encoded.getvalue()

    return make


@pytest.fixture(scope="session")
def write_jpegs(tiny_jpeg: Callable[[str], bytes]) -> Callable[[Path, Iterable[str]], None]:
    """Write a small JPEG under each name, derived from it."""

    def write(folder: Path, names: Iterable[str]) -> None:
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tiny_jpeg(name))

    return write


@pytest.fixture
def caption_set(
    tmp_path: Path, write_images: Callable[[Path, Iterable[str]], None]
) -> Callable[..., PreparedSet]:
    """Prepare a set of an image for each list of captions, in the splits of these names."""

    def make(**splits: list[list[str]]) -> PreparedSet:
        rows = [(split, captions) for split, images in splits.items() for captions in images]
        names = [f"{number}.png" for number in range(len(rows))]
        write_images(tmp_path / "source", names)
        lines = [
            json.dumps({"image": name, "captions": captions, "split": split})
            for name, (split, captions) in zip(names, rows, strict=True)
        ]
        source = tmp_path / "source" / "set.jsonl"
        source.write_text("\n".join(lines), encoding="utf-8")
        return prepare(source, tmp_path / "set")

    return make


@pytest.fixture(scope="session")
def toy_set(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    """24 plain images of three colors, light or half dark, two captions each: 16 for training, 8 for dev."""
    folder = tmp_path_factory.mktemp("toy")
    generator = np.random.default_rng(0)
    rows = []
    for number in range(24):
        color, half = number % 3, number % 2
        pixels = generator.integers(0, 20, (32, 32, 3), dtype=np.uint8)
        pixels[16 * half :, :, color] += 200
        Image.fromarray(pixels).save(folder / f"{number}.png")
        name, how = ("red", "green", "blue")[color], ("all", "half")[half]
        for caption in (f"a picture that is {how} {name}", f"this one is {how} {name}"):
            split = "train" if number < 16 else "dev"
            rows.append({"image": f"{number}.png", "caption": caption, "split": split})
    source = folder / "captions.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return prepare(source, folder / "set")


@pytest.fixture(scope="session")
def toy_recipe() -> Recipe:
    """A recipe that trains encoder and decoder on the toy set in a second."""
    return parse_recipe(
        {
            "tokenizer": {"min_count": 1},
            "encoder": {"name": "small", "width": 32, "trainable": True, "preprocessing": {"size": 32}},
            "decoder": {
                "name": "attention",
                "embedding": 16,
                "hidden": 16,
                "attention": 16,
                "region_dim": 16,
            },
            "objective": [{"name": "cross-entropy", "epochs": 2}],
            "optimizer": {"lr": 0.01},
            "schedule": {"warmup_steps": 2},
            "training": {"batch_size": 4, "precision": "fp32", "threads": 1, "ema_decay": 0.5},
        },
        "the toy recipe",
    )


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Checkpoints of tiny untrained captioners, encoder included, by decoder name: ``lstm`` or ``attention``."""
    import torch

    from showtell.checkpoints.checkpoint import save_checkpoint
    from showtell.config.decoders import AttentionSpec, LstmSpec
    from showtell.config.generation import DecodingOptions
    from showtell.config.preprocessing import Preprocessing
    from showtell.decoders.registry import build_decoder
    from showtell.encoders.encoder import EncoderSpec, build_encoder
    from showtell.tokenizer import Tokenizer

    sizes = {"embedding": 8, "hidden": 8, "dropout": 0.0}
    specs = {"lstm": LstmSpec(**sizes), "attention": AttentionSpec(**sizes, attention=8, region_dim=8)}
    written: dict[str, Path] = {}

    def write(name: str) -> Path:
        if name not in written:
            tokenizer = Tokenizer.fit(
                ["a red dog's ball lies on the green grass under one old tree"], min_count=1
            )
            with torch.random.fork_rng():
                torch.manual_seed({"attention": 5, "lstm": 2}[name])
                encoder = build_encoder(
                    EncoderSpec(name="small", width=16, trainable=True, preprocessing=Preprocessing(size=32))
                )
                decoder = build_decoder(specs[name], vocabulary=tokenizer.size, encoder_width=16, pad_id=0)
                # Large weights: images differ clearly, and no two words have nearly the same probability.
                for weight, spread in [(one, 0.15) for one in encoder.parameters() if one.ndim == 4] + [
                    (one, 1.0) for one in decoder.parameters()
                ]:
                    torch.nn.init.normal_(weight, std=spread)
            directory = tmp_path_factory.mktemp(name)
            save_checkpoint(
                directory,
                decoder=decoder.state_dict(),
                decoder_spec=specs[name],
                tokenizer=tokenizer,
                encoder=encoder,
                include_encoder=True,
                generation=DecodingOptions(max_tokens=8, min_tokens=2),
                about={},
            )
            written[name] = directory
        return written[name]

    return write


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """A directory of the test run, made by the first of its processes that needs it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name: str, write: Callable[[Path], None]) -> Path:
        place = shared / f"once-{name}"
        with FileLock(f"{place}.lock"):
            if not place.exists():
                begun = base / f"begun-{name}"
                begun.mkdir()
                write(begun)
                begun.rename(place)
        return place

    return make


@pytest.fixture
def toy_run(
    toy_set: PreparedSet,
    toy_recipe: Recipe,
    make_once: Callable[[str, Callable[[Path], None]], Path],
    tmp_path: Path,
) -> Path:
    """A finished training by the toy recipe, in a copy for the test."""
    from showtell.training.trainer import train

    def write(place: Path) -> None:
        train(toy_recipe, data=toy_set.directory, out=place / "run")

    return shutil.copytree(make_once("toy-run", write) / "run", tmp_path / "run")


@pytest.fixture(scope="session")
def onnx_translations() -> None:
    """Let torch's exporter build its table of translations once, not for each graph, which takes a second."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    ONNXRegistry.from_torchlib = staticmethod(cache(ONNXRegistry.from_torchlib))  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def exported(
    tiny_checkpoint: Callable[[str], Path],
    make_once: Callable[[str, Callable[[Path], None]], Path],
    onnx_translations: None,
) -> Any:
    """A complete export of the tiny captioner with attention, compared on drawn scenes."""
    from showtell.export.onnx import export_checkpoint

    def write(place: Path) -> None:
        made = export_checkpoint(tiny_checkpoint("attention"), place / "onnx", num_compare=5)
        (place / "exported.pickle").write_bytes(pickle.dumps(made))

    place = make_once("exported", write)
    return replace(pickle.loads((place / "exported.pickle").read_bytes()), directory=place / "onnx")


@pytest.fixture
def ready_encoder_graph(exported: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let exports copy the encoder of `exported`, since tracing it takes seconds. Returns the directory."""
    directory: Path = exported.directory

    def copy_encoder(encoder: Any, place: Path) -> None:
        for name in ("encoder.onnx", "encoder.onnx.data"):
            shutil.copy(directory / name, place)

    monkeypatch.setattr("showtell.export.onnx.write_encoder", copy_encoder)
    return directory


@pytest.fixture
def ready_graphs(ready_encoder_graph: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let exports copy the decoder of `exported` too. Returns the directory."""

    def copy_decoder(decoder: Any, width: int, state: Any, place: Path) -> None:
        for name in ("init.onnx", "init.onnx.data", "step.onnx", "step.onnx.data"):
            shutil.copy(ready_encoder_graph / name, place)

    monkeypatch.setattr("showtell.export.onnx.write_decoder", copy_decoder)
    return ready_encoder_graph


@dataclass(frozen=True)
class FrozenCaptioner:
    """A checkpoint without its frozen encoder, and the file of the encoder's weights."""

    directory: Path
    weights: Path


@pytest.fixture(scope="session")
def frozen_captioner(
    tiny_checkpoint: Callable[[str], Path], toy_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> FrozenCaptioner:
    """The tiny captioner with attention on a frozen encoder of pruned fixed-point weights, as if trained."""
    import torch
    from safetensors.torch import load_file, save_file

    from showtell.checkpoints.checkpoint import load_checkpoint, save_checkpoint
    from showtell.config.preprocessing import Preprocessing
    from showtell.encoders.encoder import EncoderSpec, build_encoder

    place = tmp_path_factory.mktemp("frozen")
    loaded = load_checkpoint(tiny_checkpoint("attention"))
    tensors = load_file(tiny_checkpoint("attention") / "encoder.safetensors")
    for tensor in tensors.values():
        if tensor.ndim == 4:
            tensor.mul_(64).round_().div_(64).mul_(tensor.abs() > tensor.std())
    weights = place / "weights.safetensors"
    save_file(tensors, weights, metadata={"format": "pt", "source": "drawn at random, MIT"})
    spec = EncoderSpec(name="small", width=16, preprocessing=Preprocessing(size=32), weights=str(weights))
    encoder = build_encoder(spec, dtype=torch.float32)
    recipe = toy_recipe.model_dump(mode="json")
    recipe["encoder"].update(trainable=False, weights=str(weights), width=16)
    save_checkpoint(
        place,
        decoder=loaded.model.decoder.state_dict(),
        decoder_spec=loaded.model.decoder.spec,
        tokenizer=loaded.tokenizer,
        encoder=encoder,
        include_encoder=False,
        generation=loaded.generation,
        about={
            "recipe": recipe,
            "data": {"name": "toy", "format": "flickr8k", "pictures": 16, "fingerprint": "ab" * 32},
            "scores": {"values": {"BLEU-4": 0.2, "CIDEr-D": 0.5}, "signature": "showtell:0|refs:2"},
        },
    )
    return FrozenCaptioner(place, weights)
