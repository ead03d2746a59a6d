"""The mean of what is seen in a image and in its mirror image, turned back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from showtell.config.preprocessing import Preprocessing
from showtell.encoders.encoder import Encoder, EncoderSpec, build_encoder, identity_differences
from showtell.encoders.small_cnn import SmallCnn

SIZE = 96


def build(resnet18_weights: Path, *, flip_average: bool, dtype: torch.dtype = torch.float32) -> Encoder:
    spec = EncoderSpec(
        name="resnet18",
        out_stages=(3, 4),
        region_grid=2,
        preprocessing=Preprocessing(size=SIZE),
        flip_average=flip_average,
    )
    return build_encoder(spec, weights=resnet18_weights, dtype=dtype)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randint(
        0, 256, (5, SIZE, SIZE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def turned(regions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Regions [P, R, D], each row of them from right to left."""
    return regions.unflatten(1, grid).flip(2).flatten(1, 2)


@pytest.mark.thorough
def test_regions_are_the_mean_of_both_looks_each_in_its_place(resnet18_weights: Path, images: Tensor) -> None:
    once, twice = (build(resnet18_weights, flip_average=flips) for flips in (False, True))
    upright, mirrored, both = once(images), once(images.flip(2)), twice(images)
    assert twice.grid == once.grid
    assert both.regions.shape == upright.regions.shape
    expected = (upright.regions + turned(mirrored.regions, once.grid)) / 2
    torch.testing.assert_close(both.regions, expected, rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(both.pooled, (upright.pooled + mirrored.pooled) / 2, rtol=2e-3, atol=2e-3)
    assert not torch.allclose(both.regions, upright.regions, rtol=2e-3, atol=2e-3)


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_mirror_image_has_the_mirrored_regions_to_the_bit(
    resnet18_weights: Path, images: Tensor, dtype: torch.dtype
) -> None:
    encoder = build(resnet18_weights, flip_average=True, dtype=dtype)
    upright, mirrored = encoder(images), encoder(images.flip(2))
    assert torch.equal(mirrored.regions, turned(upright.regions, encoder.grid))


@pytest.mark.thorough
def test_both_encoders_are_told_apart_and_others_stay_known(resnet18_weights: Path) -> None:
    once, twice = (build(resnet18_weights, flip_average=flips).identity() for flips in (False, True))
    assert "flip_average" not in once
    assert twice == {**once, "flip_average": True}
    assert identity_differences(twice, once) == ["flip_average is True, not None"]


def test_an_encoder_that_is_trained_learns_from_both_looks(images: Tensor) -> None:
    spec = EncoderSpec(
        name="small", trainable=True, width=16, preprocessing=Preprocessing(size=SIZE), flip_average=True
    )
    torch.manual_seed(0)
    encoder = build_encoder(spec)
    assert isinstance(encoder.network, SmallCnn)
    encoder(images).regions.square().mean().backward()
    assert all(
        weight.grad is not None and bool(weight.grad.isfinite().all()) for weight in encoder.parameters()
    )
