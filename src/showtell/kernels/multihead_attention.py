"""Attention with several heads: scaled dot products, each head in its part of the width.

Vaswani et al., "Attention Is All You Need" (2017), equation 1 and section 3.2.2, without the layer that mixes the
heads; whoever wants it brings it. By plain products: torch's fused attention is made for far more keys than a picture
has regions or a caption words, and takes longer on the CPU.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def by_head(values: Tensor, heads: int) -> Tensor:
    """[B, X, M] -> [B, N, X, M/N] for N heads, a view."""
    batch, places, _ = values.shape
    return values.view(batch, places, heads, -1).transpose(1, 2)


def memory_by_head(values: Tensor, heads: int) -> Tensor:
    """[B, R, M] -> [B, N, R, M/N] for N heads, laid out anew: torch would copy a view for each product."""
    return by_head(values, heads).contiguous()


def attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Ask with queries what keys hold.

    Args:
        query: float [B, X, M].
        keys: What queries are compared with, float [B, N, R, M/N], N heads.
        values: What they find, float [B, N, R, M/N].
        mask: What may be found, bool, as [B, N, X, R] or what broadcasts to it; something for each query.

    Returns:
        What was found, float [B, X, M], and the attention, float32 at least [B, N, X, R].
    """
    queries = by_head(query, keys.shape[1])  # [B, N, X, M/N]
    energy = queries @ keys.transpose(2, 3) / math.sqrt(queries.shape[-1])  # [B, N, X, R]
    exact = energy.to(torch.promote_types(energy.dtype, torch.float32))
    attention = exact.masked_fill(~mask, float("-inf")).softmax(dim=3)
    found = attention.to(values.dtype) @ values  # [B, N, X, M/N]
    return found.transpose(1, 2).flatten(2), attention
