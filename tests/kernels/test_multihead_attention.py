"""Multi-head attention: the numbers and gradients of torch's attention, and nothing of what is masked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from showtell.kernels.multihead_attention import attend, attend_cached, split_heads


def draw(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def check_grads(output: Tensor, expected: Tensor, leaves: list[Tensor]) -> None:
    torch.testing.assert_close(output, expected)
    grads, expected_grads = (torch.autograd.grad(out.square().sum(), leaves) for out in (output, expected))
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(grad, expected_grad)


def test_contexts_and_gradients_equal_torchs_attention() -> None:
    query, keys, values = draw(3, 4, 6, seed=0), draw(3, 5, 6, seed=1), draw(3, 5, 6, seed=2)
    mask = torch.rand(3, 1, 4, 5, generator=torch.Generator().manual_seed(3)) > 0.4
    mask[..., 0] = True
    heads = [split_heads(part, 2) for part in (query, keys, values)]
    context, attention = attend(query, heads[1], heads[2], mask)
    expected = functional.scaled_dot_product_attention(*heads, attn_mask=mask)
    check_grads(context, expected.transpose(1, 2).flatten(2), [query, keys, values])
    torch.testing.assert_close(attention.sum(3), torch.ones(3, 2, 4, dtype=torch.float64))
    assert bool((attention.masked_select(~mask) == 0).all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_attention_is_in_float32_and_contexts_in_the_precision_of_values(dtype: torch.dtype) -> None:
    query, keys = draw(1, 2, 4, seed=0).to(dtype), split_heads(draw(1, 3, 4, seed=1).to(dtype), 2)
    context, attention = attend(query, keys, keys, torch.ones(1, dtype=torch.bool))
    assert (context.dtype, attention.dtype) == (dtype, torch.float32)


@pytest.mark.parametrize("length", [0, 3])
def test_cached_attention_equals_attention_with_the_new_word_appended(length: int) -> None:
    query, key, value = (draw(2, 3, 2, 1, 4, seed=seed) for seed in range(3))  # [P, K, N, 1, H/N]
    past = draw(2, 3, 2, length, 2, 4, seed=3)
    keys, values = (
        torch.cat((old, new), dim=3).flatten(0, 1)
        for old, new in zip(past.unbind(4), (key, value), strict=True)
    )
    context, _ = attend(
        query.flatten(0, 1).transpose(1, 2).flatten(2), keys, values, torch.ones(1, dtype=torch.bool)
    )
    expected = split_heads(context, 2).view(2, 3, 2, 1, 4)
    check_grads(attend_cached(query, past, key, value), expected, [query, past, key, value])
