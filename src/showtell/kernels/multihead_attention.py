"""Multi-head attention: scaled dot products, each head in its part of the channels.

Vaswani et al., "Attention Is All You Need" (2017), equation 1 and section 3.2.2, without the output projection. By
plain products: torch's fused attention is made for far more keys than an image has regions or a caption words, and is
slower on the CPU.
"""

import math

import torch
from torch import Tensor


def split_heads(values: Tensor, heads: int) -> Tensor:
    """[B, X, M] -> [B, N, X, M/N] for N heads, a view."""
    return values.view(*values.shape[:2], heads, -1).transpose(1, 2)


def split_heads_contiguous(values: Tensor, heads: int) -> Tensor:
    """[B, R, M] -> [B, N, R, M/N] for N heads, contiguous: torch would copy the view again for each product."""
    return split_heads(values, heads).contiguous()


def attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the context float [B, X, M] and the attention, float32 at least [B, N, X, R], of N heads.

    Queries are float [B, X, M], keys and values float [B, N, R, M/N]; the mask, bool, broadcastable to [B, N, X, R],
    is True where a query may attend: somewhere for each query.
    """
    queries = split_heads(query, keys.shape[1])  # [B, N, X, M/N]
    energy = queries @ keys.transpose(2, 3) / math.sqrt(queries.shape[-1])  # [B, N, X, R]
    energy = energy.to(torch.promote_types(energy.dtype, torch.float32))
    attention = energy.masked_fill(~mask, float("-inf")).softmax(dim=3)
    context = attention.to(values.dtype) @ values  # [B, N, X, M/N]
    return context.transpose(1, 2).flatten(2), attention


def attend_cached(query: Tensor, past: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return the contexts float [P, K, N, 1, H/N] of queries among earlier words and their own.

    Equals `attend` over ``past`` float [P, K, N, T, 2, H/N] with key and value [P, K, N, 1, H/N] appended. The
    caller appends them for all layers together, so that the cache is copied once a step.
    """
    keys, values = past.unbind(dim=4)  # [P, K, N, T, H/N]
    energy = torch.cat((query @ keys.transpose(3, 4), query @ key.transpose(3, 4)), dim=4)
    energy = energy.to(torch.promote_types(energy.dtype, torch.float32)) / math.sqrt(query.shape[4])
    attention = energy.softmax(dim=4).to(value.dtype)  # [P, K, N, 1, T + 1]
    return attention[..., :-1] @ values + attention[..., -1:] * value
