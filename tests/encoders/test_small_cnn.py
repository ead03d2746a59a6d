"""The small network that learns with its decoder."""

from __future__ import annotations

import pytest
import torch

from showtell.encoders.encoder import EncoderSpec, build_encoder
from showtell.encoders.small_cnn import SmallCnn


@pytest.mark.parametrize(("size", "side"), [(32, 2), (96, 6)])
def test_map_is_a_sixteenth_of_the_image(size: int, side: int) -> None:
    assert SmallCnn(32)(torch.zeros(2, 3, size, size)).shape == (2, 32, side, side)


def test_place_can_be_told_from_a_plain_image() -> None:
    """Convolutions alone give every inner region of a plain image the same numbers."""
    torch.manual_seed(0)
    seen = SmallCnn(32).eval()(torch.zeros(1, 3, 96, 96))
    assert float((seen[0, :-4, 2, 2] - seen[0, :-4, 3, 3]).detach().abs().max()) > 1e-3
    assert seen[0, -4:, 0, 5].tolist() == [-1.0, 1.0, -1.0, -1.0]


def test_every_weight_learns() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(EncoderSpec(name="small", trainable=True, width=32)).train()
    images = torch.randint(0, 256, (4, 96, 96, 3), dtype=torch.uint8)
    (encoder(images).regions * torch.randn(4, encoder.regions, 32)).sum().backward()
    assert all(float(parameter.grad.abs().max()) > 0 for parameter in encoder.parameters())


@pytest.mark.thorough
def test_it_learns_where_a_square_is() -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    encoder = build_encoder(EncoderSpec(name="small", trainable=True, width=32, preprocessing={"size": 32}))
    head = torch.nn.Linear(32, 2)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=3e-3)
    for _ in range(80):
        places = torch.randint(0, 24, (32, 2), generator=generator)
        images = torch.zeros(32, 32, 32, 3, dtype=torch.uint8)
        for image, (down, right) in zip(images, places.tolist(), strict=True):
            image[down : down + 8, right : right + 8] = 255
        loss = (head(encoder(images).pooled) - places / 24).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.02  # guessing the middle costs 1/12
