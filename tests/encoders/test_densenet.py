"""The DenseNets: the published sizes, the paper's definition, and that folding changes nothing."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from showtell.config.encoder import EncoderSpec
from showtell.config.preprocessing import Preprocessing
from showtell.encoders.densenet import BLOCKS, DenseNet
from showtell.encoders.encoder import build_encoder, save_encoder
from showtell.encoders.resnet import adaptive_avg_pool
from showtell.errors import EncoderError


def build(depth: int = 121, **options: int) -> DenseNet:
    """An untrained network in float64, every batch norm with statistics of its own, as training would give it."""
    torch.manual_seed(depth)
    network = DenseNet(depth, **options).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.bias.data.normal_(std=0.1)
    return network.double()


def by_the_paper(tensors: dict[str, Tensor], images: Tensor, depth: int) -> Tensor:
    """Huang et al. 2017, section 3 and table 1, from tensors alone: nothing folded, transitions pool last."""

    def norm_relu(x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            tensors[f"features.{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.relu(functional.batch_norm(x, mean, var, weight, bias))

    def conv(x: Tensor, name: str, **options: int) -> Tensor:
        return functional.conv2d(x, tensors[f"features.{name}.weight"], **options)

    x = norm_relu(conv(images, "conv0", stride=2, padding=3), "norm0")
    x = functional.max_pool2d(x, 3, 2, padding=1)
    for block, count in enumerate(BLOCKS[depth], start=1):
        maps = [x]
        for layer in range(1, count + 1):
            name = f"denseblock{block}.denselayer{layer}"
            y = conv(norm_relu(torch.cat(maps, 1), f"{name}.norm1"), f"{name}.conv1")
            maps.append(conv(norm_relu(y, f"{name}.norm2"), f"{name}.conv2", padding=1))
        x = torch.cat(maps, 1)
        if block < len(BLOCKS[depth]):
            x = conv(norm_relu(x, f"transition{block}.norm"), f"transition{block}.conv")
            x = functional.avg_pool2d(x, 2)
    return norm_relu(x, "norm5")


@pytest.mark.parametrize(
    ("depth", "parameters", "width"),
    # Published parameter counts (torchvision's model pages) less the classifier's.
    [
        (121, 7_978_856 - 1_025_000, 1024),
        (161, 28_681_000 - 2_209_000, 2208),
        (169, 14_149_480 - 1_665_000, 1664),
        (201, 20_013_928 - 1_921_000, 1920),
    ],
)
def test_sizes_are_the_published_ones(depth: int, parameters: int, width: int) -> None:
    with torch.device("meta"):
        network = DenseNet(depth)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert network.width == width


def test_names_are_torchvisions() -> None:
    with torch.device("meta"):
        names = DenseNet(169).state_dict().keys()
    assert {
        "features.conv0.weight",
        "features.norm0.running_mean",
        "features.denseblock4.denselayer32.norm2.bias",
        "features.transition3.conv.weight",
        "features.norm5.running_var",
    } <= names


@pytest.mark.thorough
@pytest.mark.parametrize("folded", [False, True])
def test_the_map_is_the_papers(folded: bool) -> None:
    network = build()
    image = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(2)).double()
    expected = by_the_paper(copy.deepcopy(network.state_dict()), image, 121)
    if folded:
        network.fold_batch_norms()
    with torch.inference_mode():
        found = network(image)
    assert found.shape == (2, 1024, 2, 3)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.thorough
def test_a_grid_pools_the_map() -> None:
    plain, pooled = build(), build(grid=2)
    image = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(3)).double()
    with torch.inference_mode():
        torch.testing.assert_close(pooled(image), adaptive_avg_pool(plain(image), 2, 2))


@pytest.mark.slow
def test_weights_of_keras_give_features_of_the_published_shape(shared_data: Path, tmp_path: Path) -> None:
    weights = shared_data / "weights" / "densenet169_imagenet.safetensors"
    spec = EncoderSpec(name="densenet169", region_grid=7, preprocessing=Preprocessing(size=320))
    encoder = build_encoder(spec, weights=weights, dtype=torch.float32)
    assert (encoder.grid, encoder.width) == ((7, 7), 1664)
    assert {module.eps for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)} == {1.001e-5}
    save_encoder(encoder, tmp_path / "copy.safetensors")
    assert build_encoder(spec, weights=tmp_path / "copy.safetensors").identity() == encoder.identity()
    with pytest.raises(EncoderError, match=r"weights of densenet121.*They seem to be of densenet169"):
        build_encoder(EncoderSpec(name="densenet121"), weights=weights)
