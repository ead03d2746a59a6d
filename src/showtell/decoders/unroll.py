"""Teacher forcing for decoders in which what was seen at one time is read at the next: one time after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from showtell.decoders.state import DecoderState

S = TypeVar("S", bound=DecoderState)
Advance = Callable[[Tensor, S], tuple[S, tuple[Tensor, ...]]]
"""Takes what is read at one time [P, K', X] and a state; returns the state after it and what is to be kept of it,
[P, K', Y] each."""


def unroll(inputs: Tensor, tokens: Tensor, pad_id: int, state: S, advance: Advance[S]) -> tuple[Tensor, ...]:
    """Return what ``advance`` gives at each time, [P, K, T, Y] each, zero where nothing was read.

    At time t only the first captions of each picture are read, up to the last one that still has a word there;
    where captions stand longest first, a quarter of the work falls away.

    Args:
        inputs: What is read, float [P, K, T, X].
        tokens: Whose they are, int64 [P, K, T].
        pad_id: The token that is not read.
        state: Before the first time.
        advance: Goes on by one time.
    """
    kept: list[tuple[Tensor, ...]] = []
    # Unbound at once: slicing one time after another costs a gradient of the whole for each.
    for part, active in zip(inputs.unbind(dim=2), _active_hypotheses(tokens, pad_id), strict=True):
        state, given = advance(part[:, :active], state.first(active))
        idle = (0, 0, 0, tokens.shape[1] - active)
        kept.append(tuple(functional.pad(one, idle) for one in given))
    return tuple(torch.stack(parts, dim=2) for parts in zip(*kept, strict=True))


def _active_hypotheses(tokens: Tensor, pad_id: int) -> list[int]:
    """Return for each time of tokens [P, K, T] how many hypotheses must still be read; never rises, at least 1."""
    hypotheses = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
    last = torch.where((tokens != pad_id).any(dim=0), hypotheses.unsqueeze(1), 1).amax(dim=0)  # [T]
    return [int(count) for count in last.flip(0).cummax(0).values.flip(0)]
