"""Attention with several heads: what torch's own gives, and nothing of what is masked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from showtell.kernels.multihead_attention import attend, by_head


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_what_is_found_is_what_torchs_attention_finds() -> None:
    query, keys, values = draw(3, 4, 6, seed=0), draw(3, 5, 6, seed=1), draw(3, 5, 6, seed=2)
    mask = torch.rand(3, 1, 4, 5, generator=torch.Generator().manual_seed(3)) > 0.4
    mask[..., 0] = True
    found, attention = attend(query, by_head(keys, 2), by_head(values, 2), mask)
    wanted = functional.scaled_dot_product_attention(
        by_head(query, 2), by_head(keys, 2), by_head(values, 2), attn_mask=mask
    )
    torch.testing.assert_close(found, wanted.transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention.sum(3), torch.ones(3, 2, 4, dtype=torch.float64))
    assert bool((attention.masked_select(~mask) == 0).all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_attention_is_exact_and_what_is_found_as_precise_as_the_values(dtype: torch.dtype) -> None:
    query, keys = draw(1, 2, 4, seed=0).to(dtype), by_head(draw(1, 3, 4, seed=1).to(dtype), 2)
    found, attention = attend(query, keys, keys, torch.ones(1, dtype=torch.bool))
    assert (found.dtype, attention.dtype) == (dtype, torch.float32)
