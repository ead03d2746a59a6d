"""Constraints on the next token: banned tokens get log-probability -infinity, the others keep theirs.

The repetition penalty changes no log-probability either, only the order in which tokens are selected.
"""

import math
from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from showtell.config.generation import DecodingOptions
from showtell.generation.array_ops import Array, like, namespace
from showtell.generation.hypothesis import SpecialTokens


class Constraint(Protocol):
    """What may not come next, of any kind; pass your own to `Captioner.caption` (``constraints=[...]``)."""

    def __call__(self, log_probs: Array, ids: npt.NDArray[np.int64], /) -> Array:
        """Set log-probabilities [P, K, V] after ``ids`` int64 [P, K, T] to -infinity, in place; return them.

        They are of torch or numpy; what is banned may depend on the ids alone.
        """
        ...


Constraints: TypeAlias = Sequence[Constraint]


def apply_constraints(
    log_probs: Array,
    ids: npt.NDArray[np.int64],
    options: DecodingOptions,
    specials: SpecialTokens,
    constraints: Constraints = (),
) -> Array:
    """Ban in place the tokens that may not follow ``ids`` int64 [P, K, T]; return ``log_probs`` [P, K, V].

    After ``max_tokens`` all but the end are banned, so that no token without room outranks an end. Before, banned are
    special tokens but the end, the end before ``min_tokens``, the end as the first token unless no other is allowed,
    repeated n-grams of the set size, and what ``constraints`` ban.
    """
    for constraint in constraints:
        log_probs = constraint(log_probs, ids)
    num_tokens, end = ids.shape[2], specials.eos
    if num_tokens == options.max_tokens:
        log_probs[..., :end] = -math.inf
        log_probs[..., end + 1 :] = -math.inf
        return log_probs
    for index in specials.banned_ids:
        log_probs[..., index] = -math.inf
    if num_tokens < max(1, options.min_tokens):
        empty = log_probs[..., end] + 0.0
        log_probs[..., end] = -math.inf
        if not options.min_tokens:
            xp = namespace(log_probs)
            log_probs[..., end] = xp.where(xp.max(log_probs, axis=-1) > -math.inf, -math.inf, empty)
    if options.no_repeat_ngram_size:
        indices = repeated_ngrams(ids, options.no_repeat_ngram_size)
        if indices[0].size:
            log_probs[tuple(like(part, log_probs) for part in indices)] = -math.inf
    return log_probs


def penalize_repetition(log_probs: Array, ids: npt.NDArray[np.int64], options: DecodingOptions) -> Array:
    """Return what tokens [P, K, V] are selected by, given their log-probabilities after ``ids`` int64 [P, K, T].

    Tokens that a sequence has already are penalized (Keskar et al. 2019, CTRL, section 4.1). Their log-probability is
    multiplied, not the logit, which has no zero: a decoder may add any constant to all logits.
    """
    if options.repetition_penalty == 1 or not ids.shape[2]:
        return log_probs
    places = np.arange(ids.shape[0])[:, None, None], np.arange(ids.shape[1])[:, None], ids
    index = tuple(like(part, log_probs) for part in places)
    scores = log_probs + 0.0
    scores[index] = log_probs[index] * options.repetition_penalty
    return scores


def meets(ids: Sequence[int], constraints: Constraints, specials: SpecialTokens, num_tokens: int) -> bool:
    """Return whether constraints allow each token of a caption, and its end; the vocabulary has ``num_tokens``."""
    tokens = np.array([*ids, specials.eos], np.int64)[None, None]
    for constraint in constraints:
        for step in range(tokens.shape[2]):
            allowed = constraint(np.zeros((1, 1, num_tokens)), tokens[:, :, :step])
            if allowed[0, 0, tokens[0, 0, step]] == -math.inf:
                return False
    return True


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
