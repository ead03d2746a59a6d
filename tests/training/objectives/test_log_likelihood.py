"""The likelihood of tokens: torch's own numbers and gradients, in one pass over the vocabulary."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from showtell.training.objectives import log_likelihood as likelihood
from showtell.training.objectives.log_likelihood import log_likelihood

TARGETS = torch.tensor([3, 0, 4, 4, 1])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("block", [2, 64])
def test_it_is_minus_torchs_cross_entropy(
    smoothing: float, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likelihood, "BLOCK", block)
    torch.manual_seed(0)
    logits = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    weigh = torch.randn(5, dtype=torch.float64)
    found = log_likelihood(logits, TARGETS, smoothing=smoothing)
    wanted = -functional.cross_entropy(logits, TARGETS, label_smoothing=smoothing, reduction="none")
    torch.testing.assert_close(found, wanted)
    by_found, by_wanted = (torch.autograd.grad((one * weigh).sum(), logits)[0] for one in (found, wanted))
    torch.testing.assert_close(by_found, by_wanted)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_what_is_taught_takes_its_share_of_the_target(
    smoothing: float, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likelihood, "BLOCK", 2)
    torch.manual_seed(0)
    logits = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    odds, weigh = torch.randn(5, 6, dtype=torch.float64).softmax(dim=1), torch.randn(5, dtype=torch.float64)
    found = log_likelihood(logits, TARGETS, smoothing=smoothing, soft_targets=share * odds)
    said = functional.one_hot(TARGETS, 6).double() * (1 - smoothing) + smoothing / 6
    wanted = -functional.cross_entropy(logits, (1 - share) * said + share * odds, reduction="none")
    torch.testing.assert_close(found, wanted)
    by_found, by_wanted = (torch.autograd.grad((one * weigh).sum(), logits)[0] for one in (found, wanted))
    torch.testing.assert_close(by_found, by_wanted)


def test_half_precision_is_summed_in_float32() -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, 3000).bfloat16().requires_grad_()
    found = log_likelihood(logits, TARGETS, smoothing=0.1)
    wanted = -functional.cross_entropy(logits.float(), TARGETS, label_smoothing=0.1, reduction="none")
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
    found.sum().backward()
    assert logits.grad is not None
    assert logits.grad.dtype == torch.bfloat16


def test_what_cannot_be_said_gets_no_gradient() -> None:
    logits = torch.tensor([[0.5, -math.inf, 1.0]], requires_grad=True)
    found = log_likelihood(logits, torch.tensor([2]))
    found.sum().backward()
    assert found.item() == pytest.approx(1.0 - math.log(math.exp(0.5) + math.e))
    assert logits.grad is not None
    assert logits.grad[0, 1].item() == 0.0
    assert bool(logits.grad.isfinite().all())
