"""Which tokens may come next: the rest get log-probability -infinity, the others keep theirs (no renormalizing)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from showtell.config.generation import DecodingOptions
from showtell.generation.array_ops import Array, like
from showtell.generation.hypothesis import SpecialTokens


def apply_constraints(
    log_probs: Array, ids: npt.NDArray[np.int64], options: DecodingOptions, specials: SpecialTokens
) -> Array:
    """Forbid in place what may not follow ``ids``, int64 [P, K, T], and return ``log_probs`` [P, K, V].

    Specials other than the end are never said, the end not before ``min_tokens``, no n-gram of the set size twice.
    """
    for index in specials.never_said:
        log_probs[..., index] = -math.inf
    if ids.shape[2] < options.min_tokens:
        log_probs[..., specials.eos] = -math.inf
    if options.no_repeat_ngram_size:
        places = repeats(ids, options.no_repeat_ngram_size)
        if places[0].size:
            log_probs[tuple(like(part, log_probs) for part in places)] = -math.inf
    return log_probs


def repeats(
    ids: npt.NDArray[np.int64], size: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return picture, hypothesis and token of every n-gram of this size that would come again."""
    length = ids.shape[2]
    if length < size:
        nothing = np.zeros(0, np.int64)
        return nothing, nothing, nothing
    last = ids[:, :, length - size + 1 :]
    again = np.ones((*ids.shape[:2], length - size + 1), bool)  # [P, K, starts]
    for offset in range(size - 1):
        again &= ids[:, :, offset : offset + again.shape[2]] == last[:, :, offset, None]
    picture, hypothesis, start = np.nonzero(again)
    return picture, hypothesis, ids[picture, hypothesis, start + size - 1]
