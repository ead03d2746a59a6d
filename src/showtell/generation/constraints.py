"""Constraints on the next token: banned tokens get log-probability -infinity, the others keep theirs."""

import math

import numpy as np
import numpy.typing as npt

from showtell.config.generation import DecodingOptions
from showtell.generation.array_ops import Array, like
from showtell.generation.hypothesis import SpecialTokens


def apply_constraints(
    log_probs: Array, ids: npt.NDArray[np.int64], options: DecodingOptions, specials: SpecialTokens
) -> Array:
    """Ban in place the tokens that may not follow ``ids`` int64 [P, K, T]; return ``log_probs`` [P, K, V].

    Banned are special tokens but the end, the end before ``min_tokens``, and repeated n-grams of the set size.
    """
    for index in specials.banned_ids:
        log_probs[..., index] = -math.inf
    if ids.shape[2] < options.min_tokens:
        log_probs[..., specials.eos] = -math.inf
    if options.no_repeat_ngram_size:
        indices = repeated_ngrams(ids, options.no_repeat_ngram_size)
        if indices[0].size:
            log_probs[tuple(like(part, log_probs) for part in indices)] = -math.inf
    return log_probs


def repeated_ngrams(
    ids: npt.NDArray[np.int64], size: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return image, hypothesis and token of every n-gram of this size that would occur a second time."""
    length = ids.shape[2]
    if length < size:
        empty = np.zeros(0, np.int64)
        return empty, empty, empty
    last = ids[:, :, length - size + 1 :]
    matches = np.ones((*ids.shape[:2], length - size + 1), bool)  # [P, K, starts]
    for offset in range(size - 1):
        matches &= ids[:, :, offset : offset + matches.shape[2]] == last[:, :, offset, None]
    image, hypothesis, start = np.nonzero(matches)
    return image, hypothesis, ids[image, hypothesis, start + size - 1]
