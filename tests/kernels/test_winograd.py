"""Winograd's convolutions are convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from showtell.kernels.winograd import WinogradConvolution, is_winograd_faster


def convolution(channels: int, outputs: int, **options: int) -> nn.Conv2d:
    torch.manual_seed(channels)
    return nn.Conv2d(channels, outputs, 3, **{"padding": 1, **options}).eval().requires_grad_(False)


def images(*shape: int) -> Tensor:
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))
    return values.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels", [3, 64, 512])  # 512: the smaller tiles
@pytest.mark.parametrize("size", [(1, 1), (7, 10), (41, 83)])  # less than a tile, uneven, several strips
@pytest.mark.parametrize("count", [1, pytest.param(5, marks=pytest.mark.thorough)])
def test_equals_the_definition_in_double_precision(channels: int, size: tuple[int, int], count: int) -> None:
    conv, x = convolution(channels, 16), images(count, channels, *size)
    expected = conv.double()(x.double()).relu()
    result = WinogradConvolution(conv.float())(x)
    assert result.is_contiguous(memory_format=torch.channels_last)
    tolerance = 2e-5 * float(expected.max())
    torch.testing.assert_close(result.double(), expected, rtol=0, atol=tolerance)


def test_no_image_gives_no_map() -> None:
    assert WinogradConvolution(convolution(8, 16))(images(0, 8, 5, 5)).shape == (0, 16, 5, 5)


@pytest.mark.parametrize("channels", [64, 512])
@pytest.mark.parametrize("size", [1, 5, pytest.param(20, marks=pytest.mark.thorough)])
def test_an_image_has_the_same_map_in_every_batch(channels: int, size: int) -> None:
    conv = WinogradConvolution(convolution(channels, channels))
    x = images(33, channels, size, size)
    together = conv(x)
    for count in (1, 2, 3, 4, 7, 32):
        torch.testing.assert_close(conv(x[-count:]), together[-count:], rtol=0, atol=0)


@pytest.mark.parametrize(
    "other",
    [
        convolution(8, 8, stride=2),
        convolution(8, 8, padding=0),
        convolution(8, 8, groups=2),
        convolution(8, 8, dilation=2),
        nn.Conv2d(8, 8, 1),
        convolution(8, 8).bfloat16(),
    ],
)
def test_other_convolutions_have_no_such_form(other: nn.Conv2d, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX2")
    assert is_winograd_faster(convolution(8, 8))
    assert not is_winograd_faster(other)


def test_only_processors_it_was_measured_on_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX512")
    assert not is_winograd_faster(convolution(8, 8))
