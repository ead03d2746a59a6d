"""The ResNets: names, shapes, layouts, and that folding and fusing change nothing but the speed."""

from __future__ import annotations

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import pytest
import torch
from torch import nn

from showtell.config.encoder import StrideIn
from showtell.encoders.encoder import fast_dtype
from showtell.encoders.onednn_network import can_fuse, max_pool_3x3
from showtell.encoders.onednn_resnet import FusedResNet
from showtell.encoders.resnet import EARLY_STAGE_SCALE, ResNet, adaptive_avg_pool

LAYOUTS: tuple[StrideIn, ...] = get_args(StrideIn)


def scatter_norms(network: nn.Module) -> None:
    """Give every batch norm statistics of its own, as training would."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = 0.1 * torch.randn(module.num_features, generator=generator)
            module.running_var = 0.5 + torch.rand(module.num_features, generator=generator)
            module.bias.data = 0.1 * torch.randn(module.num_features, generator=generator)


def build(depth: int, layout: StrideIn = "conv2") -> ResNet:
    torch.manual_seed(depth)
    network = ResNet(depth, layout).eval().requires_grad_(False)
    scatter_norms(network)
    return network


@pytest.mark.parametrize(
    ("depth", "tensors", "parameters", "width"),
    # Published parameter counts (torchvision's model pages) less the classifier's.
    [
        (18, 120, 11_689_512 - 513_000, 512),
        (34, 216, 21_797_672 - 513_000, 512),
        (50, 318, 25_557_032 - 2_049_000, 2048),
        (101, 624, 44_549_160 - 2_049_000, 2048),
        (152, 930, 60_192_808 - 2_049_000, 2048),
    ],
)
def test_sizes_are_the_published_ones(depth: int, tensors: int, parameters: int, width: int) -> None:
    with torch.device("meta"):
        network = ResNet(depth)
    assert len(network.state_dict()) == tensors
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert network.width == width


def test_names_are_torchvisions() -> None:
    with torch.device("meta"):
        names = ResNet(50).state_dict().keys()
    assert {
        "conv1.weight",
        "bn1.running_mean",
        "layer1.0.conv3.weight",
        "layer1.0.downsample.0.weight",
        "layer1.0.downsample.1.running_var",
        "layer4.2.bn3.num_batches_tracked",
    } <= names
    assert "layer1.1.downsample.0.weight" not in names


@pytest.mark.thorough
@pytest.mark.parametrize("depth", [18, pytest.param(50, marks=pytest.mark.thorough)])
@pytest.mark.parametrize(("size", "side"), [(64, 2), (65, 3), (96, 3)])
def test_map_is_a_thirty_second_of_the_image_rounded_up(depth: int, size: int, side: int) -> None:
    with torch.inference_mode():
        assert build(depth)(torch.zeros(2, 3, size, size)).shape == (
            2,
            512 if depth == 18 else 2048,
            side,
            side,
        )


@pytest.mark.parametrize(
    ("layout", "first", "middle"), [("conv1", (2, 2), (1, 1)), ("conv2", (1, 1), (2, 2))]
)
def test_layout_is_the_place_of_the_stride(layout: StrideIn, first: object, middle: object) -> None:
    with torch.device("meta"):
        network = ResNet(50, layout)
    for stage in (2, 3, 4):
        block = network.get_submodule(f"layer{stage}.0")
        assert (block.conv1.stride, block.conv2.stride, block.conv3.stride) == (first, middle, (1, 1))
        assert block.downsample[0].stride == (2, 2)
    assert network.get_submodule("layer1.0").conv2.stride == (1, 1)


@pytest.mark.thorough
def test_layouts_share_every_name_and_shape_but_see_differently() -> None:
    first, second = build(50, "conv1"), build(50, "conv2")
    second.load_state_dict(first.state_dict(), strict=True)
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert not torch.allclose(first(image), second(image), rtol=0.05)


@pytest.mark.thorough
@pytest.mark.parametrize("depth", [18, 50])
def test_folding_changes_nothing_it_computes(depth: int) -> None:
    network = build(depth).double()
    folded = copy.deepcopy(network)
    folded.fold_batch_norms()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2)).double()
    with torch.inference_mode():
        torch.testing.assert_close(folded(image), network(image), rtol=1e-9, atol=1e-9)


def test_a_precision_that_the_processor_does_not_convolve_is_seen_by_the_plain_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("showtell.encoders.onednn_network.can_compute", lambda dtype: dtype != torch.bfloat16)
    torch.manual_seed(0)
    plain = ResNet(18).eval()
    plain.fold_batch_norms()
    plain.to(torch.bfloat16)
    fused = FusedResNet(plain).eval()
    with torch.inference_mode():
        images = torch.randn(1, 3, 64, 64, dtype=torch.bfloat16)
        assert torch.equal(fused(images), plain(images))
    assert not fused._packed


@pytest.mark.skipif(not can_fuse(torch.float32), reason="this PyTorch has no fused convolutions")
@pytest.mark.parametrize(
    ("depth", "layout"),
    [(18, "conv2"), *(pytest.param(50, layout, marks=pytest.mark.thorough) for layout in ("conv1", "conv2"))],
)
def test_fused_equals_plain(depth: int, layout: StrideIn) -> None:
    plain = build(depth, layout)
    plain.fold_batch_norms()
    fused = FusedResNet(plain).to(memory_format=torch.channels_last)
    for count, size in ((1, 64), (5, 64), (2, 96)):  # laid out for the first size, right for all
        images = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(count))
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            expected = plain(images)
            torch.testing.assert_close(fused(images), expected, rtol=1e-4, atol=1e-4 * float(expected.max()))


@pytest.mark.thorough
@pytest.mark.skipif(not can_fuse(torch.float32), reason="this PyTorch has no fused convolutions")
def test_what_is_seen_does_not_depend_on_the_number_of_threads() -> None:
    plain, before = build(50, "conv2"), torch.get_num_threads()
    plain.fold_batch_norms()
    fused = FusedResNet(plain).to(fast_dtype("cpu")).to(memory_format=torch.channels_last)
    images = torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(0)).to(fast_dtype("cpu"))
    images = images.contiguous(memory_format=torch.channels_last)
    seen = []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            with torch.inference_mode():
                seen.append(fused(images))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2])


@pytest.mark.skipif(not can_fuse(torch.float32), reason="this PyTorch has no fused convolutions")
def test_threads_that_begin_together_lay_the_weights_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = build(18, "conv2")
    plain.fold_batch_norms()
    fused, both, laid_out = FusedResNet(plain), threading.Barrier(2, timeout=60), []
    pack = fused._pack

    def counted(images: torch.Tensor) -> None:
        laid_out.append(len(images))
        pack(images)

    def look(_: int) -> torch.Tensor:
        both.wait()
        with torch.inference_mode():
            return fused(torch.ones(1, 3, 64, 64))

    monkeypatch.setattr(fused, "_pack", counted)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(look, range(2))
    assert torch.equal(one, other)
    assert laid_out == [1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("size", [(12, 20), (13, 20), (12, 21), (2, 2)])
def test_greatest_of_neighbours_are_poolings_to_the_bit(dtype: torch.dtype, size: tuple[int, int]) -> None:
    numbers = torch.randn(3, 5, *size, generator=torch.Generator().manual_seed(0)).relu().to(dtype)
    numbers = numbers.contiguous(memory_format=torch.channels_last)
    pooled = max_pool_3x3(numbers)
    assert torch.equal(pooled, nn.functional.max_pool2d(numbers, 3, 2, padding=1))
    assert pooled.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.skipif(not can_fuse(torch.float32), reason="this PyTorch has no fused convolutions")
def test_fused_follows_a_change_of_weights_and_can_be_copied() -> None:
    plain = build(18)
    plain.fold_batch_norms()
    fused = FusedResNet(plain).to(memory_format=torch.channels_last)
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        before = fused(image)
        twin = copy.deepcopy(fused)
        torch.testing.assert_close(twin(image), before)
        with torch.no_grad():
            plain.layer4[1].conv2.bias += 1
        fused.to(torch.float32)  # any move lays the weights out anew
        assert float((fused(image) - before).abs().max()) > 0.5


def test_fused_runs_plain_where_gradients_are_wanted() -> None:
    plain = build(18)
    plain.fold_batch_norms()
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(4)).requires_grad_()
    FusedResNet(plain)(image).sum().backward()
    assert float(image.grad.abs().sum()) > 0


@pytest.mark.thorough
def test_stages_stand_side_by_side_on_the_last_ones_grid() -> None:
    torch.manual_seed(0)
    network = ResNet(18, stages=(2, 4)).eval().requires_grad_(False)
    alone = ResNet(18).eval()
    alone.load_state_dict(network.state_dict())
    seen: list[torch.Tensor] = []
    alone.layer2.register_forward_hook(lambda module, inputs, output: seen.append(output))
    image = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        joined, last = network(image), alone(image)
    assert joined.shape == (2, network.width, 2, 2)
    assert network.width == 128 + 512
    assert torch.equal(joined[:, 128:], last)
    quarters = seen[0].unflatten(3, (2, 4)).unflatten(2, (2, 4)).mean(dim=(3, 5))  # [P, D, 2, 2]
    torch.testing.assert_close(joined[:, :128], EARLY_STAGE_SCALE * quarters)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("columns", [1, 4, 7])
def test_a_cell_holds_the_mean_of_what_lies_in_it(rows: int, columns: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    values = torch.randn(2, 3, 5, 4, generator=generator, dtype=torch.float64)
    cells = adaptive_avg_pool(values, rows, columns)
    # The same by counting: each place as rows x columns small ones, none crossed by a border.
    small = values.repeat_interleave(rows, dim=2).repeat_interleave(columns, dim=3)
    counted = small.unflatten(3, (columns, 4)).unflatten(2, (rows, 5)).mean(dim=(3, 5))
    torch.testing.assert_close(cells, counted)


@pytest.mark.thorough
@pytest.mark.skipif(not can_fuse(torch.float32), reason="this PyTorch lacks oneDNN's fused calls")
def test_the_fused_network_gives_the_same_stages() -> None:
    torch.manual_seed(0)
    network = ResNet(50, stages=(1, 3, 4), grid=3).eval().requires_grad_(False)
    network.fold_batch_norms()
    image = torch.randn(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        torch.testing.assert_close(FusedResNet(network)(image), network(image), rtol=1e-4, atol=1e-4)
