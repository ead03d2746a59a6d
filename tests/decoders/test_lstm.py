"""The plain LSTM's head: batch norm of pictures in full precision, at any batch size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from showtell.config.decoders import LstmSpec
from showtell.decoders.lstm import ImageBatchNorm, LstmDecoder
from showtell.encoders.features import Features


def features_of(pooled: Tensor) -> Features:
    return Features(pooled.unsqueeze(1), pooled, torch.ones(len(pooled), 1, dtype=torch.bool))


def make_decoder() -> LstmDecoder:
    torch.manual_seed(0)
    spec = LstmSpec(embedding=6, hidden=5, dropout=0.0, image_head="batch-norm")
    return LstmDecoder(spec, vocabulary=9, encoder_width=4, pad_id=0)


def make_pooled(pictures: int = 8) -> Tensor:
    return torch.rand(pictures, 4, generator=torch.Generator().manual_seed(1))


def test_the_statistics_are_those_of_pictures_however_many_captions_they_have() -> None:
    norms = []
    for hypotheses in (1, 5):
        decoder = make_decoder().train()
        tokens = torch.ones(8, hypotheses, 3, dtype=torch.int64)
        decoder(features_of(make_pooled()), tokens)
        norms.append(decoder.image_norm.state_dict())
    for name, value in norms[0].items():
        assert torch.equal(value, norms[1][name])
    seen = make_decoder().image_proj(make_pooled())
    torch.testing.assert_close(norms[0]["norm.running_mean"], 0.1 * seen.mean(0))


def test_a_picture_is_captioned_alike_alone_and_among_others() -> None:
    decoder = make_decoder().train()
    tokens = torch.randint(1, 9, (8, 2, 3), generator=torch.Generator().manual_seed(2))
    for _ in range(20):
        decoder(features_of(make_pooled()), tokens)
    decoder.eval()
    whole = decoder(features_of(make_pooled()), tokens)
    alone = decoder(features_of(make_pooled()[3:4]), tokens[3:4])
    torch.testing.assert_close(alone, whole[3:4], rtol=1e-5, atol=1e-6)


def test_a_batch_of_one_picture_trains_and_leaves_the_statistics_alone() -> None:
    decoder = make_decoder().train()
    decoder(features_of(make_pooled()), torch.ones(8, 1, 3, dtype=torch.int64))
    before = {name: value.clone() for name, value in decoder.image_norm.named_buffers()}
    logits = decoder(features_of(make_pooled(1)), torch.ones(1, 5, 3, dtype=torch.int64))
    logits.sum().backward()
    assert bool(torch.isfinite(logits).all())
    assert float(decoder.image_proj.weight.grad.abs().sum()) > 0
    assert all(torch.equal(value, before[name]) for name, value in decoder.image_norm.named_buffers())


def test_the_norm_computes_in_full_precision_whatever_training_does() -> None:
    norm = ImageBatchNorm(6).train()
    seen = 300 + make_pooled(8) @ torch.rand(4, 6, generator=torch.Generator().manual_seed(3))
    exact = norm(seen)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = norm(seen)
    assert mixed.dtype == torch.float32
    assert torch.equal(exact, mixed)
    assert norm(seen.to(torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize(("head", "names"), [("linear", 0), ("batch-norm", 5)])
def test_a_plain_head_has_no_statistics(head: str, names: int) -> None:
    spec = LstmSpec(embedding=6, hidden=5, image_head=head)  # type: ignore[arg-type]
    decoder = LstmDecoder(spec, vocabulary=9, encoder_width=4, pad_id=0)
    assert len([name for name in decoder.state_dict() if name.startswith("image_norm.")]) == names
