"""Two networks as one encoder: the channels of both, one file, one identity."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner

from showtell.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from showtell.cli.main import app
from showtell.config.encoder import EncoderSpec
from showtell.config.preprocessing import Preprocessing
from showtell.config.recipe import Recipe, parse_recipe
from showtell.data.prepared import PreparedSet
from showtell.decoders.registry import build_decoder
from showtell.encoders.compressed_weights import write_compressed
from showtell.encoders.densenet import DenseNet
from showtell.encoders.encoder import Encoder, build_encoder
from showtell.encoders.joined import join_weights
from showtell.encoders.resnet import ResNet
from showtell.encoders.weights import read_weights
from showtell.errors import EncoderError
from showtell.experiments.bundle import make_bundle
from showtell.experiments.index import index_captions
from showtell.export.onnx import export_checkpoint
from showtell.inference.captioner import Captioner
from showtell.training.trainer import train

NORMALIZATION = {"mean": "0.5 0.5 0.5", "std": "0.2 0.2 0.2"}
PAIR = "resnet18+densenet121"
RESNETS = "resnet18+resnet34"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    networks = {"resnet18": ResNet(18), "resnet34": ResNet(34), "densenet121": DenseNet(121)}
    paths = {}
    for name, network in networks.items():
        paths[name] = folder / f"{name}.safetensors"
        halves = {
            key: each.half() if each.is_floating_point() else each
            for key, each in network.state_dict().items()
        }
        source = (
            {"source": f"{name} of nobody", "note": "batch norm eps 1e-3"} if name == "densenet121" else {}
        )
        save_file(halves, paths[name], metadata={"format": "pt", **NORMALIZATION, **source})
    for pair in (PAIR, RESNETS):
        paths[pair] = folder / f"{pair}.safetensors"
        assert join_weights([read_weights(paths[name]) for name in pair.split("+")], paths[pair]) == pair
    return paths


@pytest.fixture
def images() -> Tensor:
    return torch.randint(
        0, 256, (3, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def build(name: str | list[str], weights: Path, **options: object) -> Encoder:
    spec = EncoderSpec(name=name, preprocessing=Preprocessing(size=64), **options)
    return build_encoder(spec, weights=weights, dtype=torch.float32)


@pytest.mark.thorough
def test_each_region_has_the_channels_of_both(files: dict[str, Path], images: Tensor) -> None:
    both = build(PAIR, files[PAIR], out_stages=(3, 4), region_grid=2)
    parts = [
        build("resnet18", files["resnet18"], out_stages=(3, 4), region_grid=2),
        build("densenet121", files["densenet121"], region_grid=2),
    ]
    assert (both.grid, both.width) == ((2, 2), 256 + 512 + 1024)
    features, separate = both(images), [part(images) for part in parts]
    assert torch.equal(features.regions, torch.cat([each.regions for each in separate], 2))
    assert torch.equal(features.pooled, torch.cat([each.pooled for each in separate], 1))


def test_networks_of_different_grids_share_the_first_ones(files: dict[str, Path]) -> None:
    spec = EncoderSpec(
        name=PAIR, preprocessing=Preprocessing(size=80)
    )  # 3 rows by ResNets, which round up; 2 by DenseNets
    assert build_encoder(spec, weights=files[PAIR], dtype=torch.float32).grid == (3, 3)


@pytest.mark.thorough
def test_an_image_has_the_same_features_in_any_batch(files: dict[str, Path]) -> None:
    encoder = build(PAIR, files[PAIR])
    many = torch.randint(
        0, 256, (33, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    assert torch.equal(encoder(many).regions[7:9], encoder(many[7:9]).regions)


@pytest.mark.thorough
def test_a_list_of_names_is_the_same_encoder(files: dict[str, Path]) -> None:
    listed = build(["resnet18", "densenet121"], files[PAIR])
    assert listed.identity() == build(PAIR, files[PAIR]).identity()
    assert listed.identity()["name"] == PAIR


@pytest.mark.thorough
def test_a_compressed_file_has_the_same_identity(
    files: dict[str, Path], tmp_path: Path, images: Tensor
) -> None:
    write_compressed(files[PAIR], tmp_path / "compact.safetensors")
    again, plain = build(PAIR, tmp_path / "compact.safetensors"), build(PAIR, files[PAIR])
    assert again.identity() == plain.identity()
    assert torch.equal(again(images).regions, plain(images).regions)


@pytest.mark.thorough
def test_the_file_keeps_every_bit_and_what_is_known_of_each_network(files: dict[str, Path]) -> None:
    both = read_weights(files[PAIR])
    parts = both.by_network(["resnet18", "densenet121"])
    for name, part in parts.items():
        own = read_weights(files[name])
        assert part.tensors.keys() == own.tensors.keys()
        assert all(torch.equal(part.tensors[key], own.tensors[key]) for key in own.tensors)
        assert part.metadata == own.metadata
    assert both.origin == "densenet121: densenet121 of nobody"
    assert parts["densenet121"].norm_epsilon == 1e-3
    assert files[PAIR].stat().st_size < 1.01 * sum(
        files[name].stat().st_size for name in ("resnet18", "densenet121")
    )


def test_the_command_joins_files(files: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "both.safetensors"
    sources = [str(files[name]) for name in RESNETS.split("+")]
    found = CliRunner().invoke(app, ["join-encoders", *sources, "-o", str(out)])
    assert found.exit_code == 0, found.output
    assert found.stdout == f"{out}: {RESNETS}, {out.stat().st_size / 1e6:.1f} MB\n"
    assert out.read_bytes() == files[RESNETS].read_bytes()


def test_default_weights_are_joined_once_in_the_hubs_cache(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("showtell.encoders.joined.download_weights", lambda name: read_weights(files[name]))
    spec = EncoderSpec(name=RESNETS, preprocessing=Preprocessing(size=64))
    first = build_encoder(spec, dtype=torch.float32)
    (written,) = (tmp_path / "showtell").iterdir()
    before = written.stat().st_mtime_ns
    assert written.read_bytes() == files[RESNETS].read_bytes()
    assert build_encoder(spec, dtype=torch.float32).identity() == first.identity()
    assert written.stat().st_mtime_ns == before


def test_files_that_do_not_fit_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(
        EncoderError, match=r"under that name: found weights of resnet18\. .*showtell join-encoders"
    ):
        build(PAIR, files["resnet18"])
    with pytest.raises(EncoderError, match=r"They seem to be of resnet18\+densenet121"):
        build("resnet18", files[PAIR])
    with pytest.raises(
        EncoderError, match=r"cannot be joined: found resnet18\+resnet18; expected two different"
    ):
        join_weights([read_weights(files["resnet18"])] * 2, tmp_path / "twice.safetensors")
    save_file(
        ResNet(34).state_dict(), tmp_path / "other.safetensors", metadata={**NORMALIZATION, "std": "1 1 1"}
    )
    sources = [read_weights(files["densenet121"]), read_weights(tmp_path / "other.safetensors")]
    with pytest.raises(
        EncoderError, match=r"one input: found std 1 1 1 in .*other\.safetensors; expected 0\.2"
    ):
        join_weights(sources, tmp_path / "mixed.safetensors")
    assert not (tmp_path / "mixed.safetensors").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "resnet18+resnet18"}, "one network, or two different ones"),
        ({"name": ["resnet18", "resnet34", "densenet121"]}, "one network, or two different ones"),
        ({"name": "resnet18+small"}, "no such encoder"),
        ({"name": PAIR, "trainable": True}, "two networks are frozen"),
        ({"name": PAIR, "stride_in": "conv1"}, "has a single layout"),
        ({"name": "densenet121", "out_stages": [3, 4]}, "out_stages is for ResNets, not for densenet121"),
    ],
)
def test_specs_that_make_no_sense_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EncoderSpec(**values)


@pytest.mark.thorough
def test_two_encoders_go_the_whole_way(
    files: dict[str, Path], toy_set: PreparedSet, toy_recipe: Recipe, tmp_path: Path
) -> None:
    encoder = {"name": RESNETS, "region_grid": 2, "preprocessing": {"size": 64}}
    recipe = toy_recipe.model_dump(mode="json", exclude={"encoder"}) | {"encoder": encoder}
    recipe["data"] |= {"flip": True, "augment": {"mode": "feature_windows", "crop": 0.8}}
    train(
        parse_recipe(recipe, "the recipe"),
        data=toy_set.directory,
        out=tmp_path / "run",
        encoder_weights=files[RESNETS],
        features=tmp_path / "features",
        device="cpu",
    )
    image = toy_set.image_path(20)
    expected = Captioner.load(tmp_path / "run", device="cpu").caption(image).text
    options = {"data": toy_set.directory, "features": tmp_path / "features", "device": "cpu"}
    index_captions(tmp_path / "run", tmp_path / "indexed", **options)
    assert Captioner.load(tmp_path / "indexed", device="cpu").caption(image).neighbours
    make_bundle(
        tmp_path / "run", tmp_path / "bundled" / "own", encoder=tmp_path / "bundled" / "both.safetensors"
    )
    (tmp_path / "bundled").rename(tmp_path / "moved")
    assert Captioner.load(tmp_path / "moved" / "own", device="cpu").caption(image).text == expected


@pytest.mark.slow
def test_two_encoders_are_exported(
    files: dict[str, Path], tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    loaded, encoder = load_checkpoint(tiny_checkpoint("attention")), build(PAIR, files[PAIR], region_grid=2)
    (tmp_path / "own").mkdir()
    torch.manual_seed(0)
    decoder = build_decoder(
        loaded.model.decoder.spec, vocabulary=loaded.tokenizer.size, encoder_width=encoder.width, pad_id=0
    )
    save_checkpoint(
        tmp_path / "own",
        decoder=decoder.state_dict(),
        decoder_spec=decoder.spec,
        tokenizer=loaded.tokenizer,
        encoder=encoder,
        include_encoder=True,
        generation=loaded.generation,
        about={},
    )
    exported = export_checkpoint(tmp_path / "own", tmp_path / "onnx", num_compare=3)
    image = np.random.default_rng(0).integers(0, 256, (70, 80, 3), dtype=np.uint8)
    expected = Captioner.load(tmp_path / "own", device="cpu").caption(image)
    assert Captioner.load(exported.directory).caption(image).text == expected.text
