"""Searches that never look back: each of P x K sentences takes one token at a time and goes its own way."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from showtell.config.generation import DecodingOptions
from showtell.generation.array_ops import Array, like, log_softmax
from showtell.generation.constraints import apply_constraints
from showtell.generation.hypothesis import Hypothesis, SpecialTokens, ranked
from showtell.generation.sequences import RunningHypotheses, gather_attention, should_shrink_batch
from showtell.system.batch_pool import cancellable

SelectToken = Callable[[Array, int], tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]]


def generate(
    decoder: Any,
    features: Any,
    options: DecodingOptions,
    specials: SpecialTokens,
    *,
    hypotheses: int,
    choose: SelectToken,
    attention: bool = False,
) -> list[list[Hypothesis]]:
    """Return K sentences about each picture, best score first.

    Args:
        hypotheses: K.
        choose: Takes log-probabilities [P, K, V] (-infinity: forbidden) and the number of tokens said; returns
            the log-probabilities [P, K] and the tokens int64 [P, K] of what comes next.
    """
    pictures = features.pooled.shape[0]
    rows = np.arange(pictures)  # which picture each row is about
    state = decoder.init_state(features, 1)
    tokens = np.full((pictures, 1), specials.bos, np.int64)
    lines = RunningHypotheses.empty(pictures, hypotheses)
    found: list[list[Hypothesis]] = [[] for _ in range(pictures)]
    going = np.ones((pictures, hypotheses), bool)
    first = np.zeros((pictures, hypotheses), np.int64)
    for said in cancellable(range(options.max_tokens + 1)):
        logits, state, looks = decoder.step(like(tokens, features.pooled), state)
        looks = looks if attention else None
        log_probs = log_softmax(logits)
        if said == 0:
            lines = lines.watching(looks)
            log_probs = log_probs[like(rows[:, None], log_probs), like(first, log_probs)]
            state = state.reorder(like(first, features.pooled))
        chosen, tokens = choose(apply_constraints(log_probs, lines.ids, options, specials), said)  # [P, K]
        ends = tokens == specials.eos
        stuck = (chosen == -math.inf) | (~ends & (said == options.max_tokens))
        for row, place in np.argwhere(going & (stuck | ends)):
            end = None if stuck[row, place] else float(chosen[row, place])
            found[rows[row]].append(lines.hypothesis(row, place, end, options.length_penalty))
        going &= ~stuck & ~ends
        if not going.any():
            break
        itself = np.tile(np.arange(hypotheses), (len(rows), 1))  # [P, K]
        lines = lines.append(tokens, chosen, gather_attention(looks, itself if said else first))
        still = np.flatnonzero(going.any(axis=1))
        if should_shrink_batch(state, still.size, len(rows)):
            state, lines = state.filter(like(still, features.pooled)), lines.filter(still)
            rows, going, tokens = rows[still], going[still], tokens[still]
    return [ranked(sentences) for sentences in found]
