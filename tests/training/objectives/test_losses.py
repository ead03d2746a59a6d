"""Cross-entropy: padding is nothing, and a batch's loss is the sum of its parts'."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from showtell.checkpoints.captioning_model import CaptioningModel
from showtell.config.decoders import (
    AdaptiveSpec,
    AttentionOnAttentionSpec,
    AttentionSpec,
    LstmSpec,
    StackedSpec,
    TopDownSpec,
    TransformerSpec,
)
from showtell.data.batches import Batch
from showtell.decoders.registry import DECODERS, build_decoder
from showtell.encoders.features import Features
from showtell.training.objectives.losses import cross_entropy

PAD, BOS, EOS = 0, 1, 2


@pytest.fixture(params=sorted(DECODERS))
def model(request: pytest.FixtureRequest) -> CaptioningModel:
    torch.manual_seed(0)
    spec = {
        "lstm": LstmSpec(embedding=6, hidden=5),
        "attention": AttentionSpec(embedding=6, hidden=5, attention=4, region_dim=7),
        "stacked": StackedSpec(embedding=6, hidden=5, region_dim=4, heads=2),
        "adaptive": AdaptiveSpec(embedding=6, hidden=5, attention=4),
        "top-down": TopDownSpec(embedding=6, hidden=5, attention=4, region_dim=7),
        "attention-on-attention": AttentionOnAttentionSpec(embedding=6, hidden=5, region_dim=4, heads=2),
        "transformer": TransformerSpec(hidden=6, heads=2, feed_forward=7, region_dim=4),
    }[request.param]
    return CaptioningModel(build_decoder(spec, vocabulary=9, encoder_width=4, pad_id=PAD)).double().eval()


def make_batch(pads: int = 0, pictures: slice = slice(None)) -> Batch:
    lines = [[[BOS, 3, 4, EOS, PAD], [BOS, 5, 6, 7, EOS]], [[BOS, 8, EOS, PAD, PAD], [BOS, 3, 3, EOS, PAD]]]
    tokens = torch.nn.functional.pad(torch.tensor(lines), (0, pads), value=PAD)[pictures]
    regions = torch.linspace(0, 1, 24, dtype=torch.float64).view(2, 3, 4)[pictures]
    mask = torch.ones(regions.shape[:2], dtype=torch.bool)
    return Batch(
        np.arange(len(tokens)),
        np.zeros(len(tokens), dtype=bool),
        Features(regions, regions.mean(1), mask),
        tokens,
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_padding_changes_no_loss_and_no_gradient(model: CaptioningModel, smoothing: float) -> None:
    found = []
    for pads in (0, 4):
        model.zero_grad()
        loss, tokens = cross_entropy(model, make_batch(pads), label_smoothing=smoothing)
        loss.backward()
        gradients = {
            name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None
        }
        found.append((loss.item(), tokens, gradients))
    (loss, tokens, gradients), (padded_loss, padded_tokens, padded_gradients) = found
    assert tokens == padded_tokens == 3 + 4 + 2 + 3
    assert loss == pytest.approx(padded_loss, rel=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, padded_gradients[name], rtol=1e-5, atol=1e-7)


def test_the_pad_vector_gets_no_gradient(model: CaptioningModel) -> None:
    loss, _ = cross_entropy(model, make_batch(3))
    loss.backward()
    gradient = model.decoder.word_embedding.weight.grad
    assert gradient is not None
    assert bool((gradient[PAD] == 0).all())
    assert bool((gradient[BOS] != 0).any())


def test_a_loss_is_the_sum_over_its_parts(model: CaptioningModel) -> None:
    whole, tokens = cross_entropy(model, make_batch(), label_smoothing=0.1)
    parts = [
        cross_entropy(model, make_batch(pictures=slice(place, place + 1)), label_smoothing=0.1)
        for place in range(2)
    ]
    assert tokens == sum(count for _, count in parts)
    assert whole.item() == pytest.approx(sum(loss.item() for loss, _ in parts), rel=1e-6)
