"""Searches without backtracking: each of P x K sequences takes one token at a time. Greedy search is one of them."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from showtell.config.generation import DecodingOptions
from showtell.generation.array_ops import Array, like, log_softmax, top_k
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
    num_hypotheses: int,
    select: SelectToken,
    attention: bool = False,
) -> list[list[Hypothesis]]:
    """Return K hypotheses of each image, best score first.

    Args:
        num_hypotheses: K.
        select: Maps log-probabilities [P, K, V] (-infinity: banned) and the number of tokens so far to the
            log-probabilities [P, K] and ids int64 [P, K] of the next tokens.
    """
    batch_size = features.pooled.shape[0]
    rows = np.arange(batch_size)  # the image of each row of the batch
    state = decoder.init_state(features, 1)
    tokens = np.full((batch_size, 1), specials.bos, np.int64)
    sequences = RunningHypotheses.empty(batch_size, num_hypotheses)
    finished: list[list[Hypothesis]] = [[] for _ in range(batch_size)]
    alive = np.ones((batch_size, num_hypotheses), bool)
    first = np.zeros((batch_size, num_hypotheses), np.int64)
    for step in cancellable(range(options.max_tokens + 1)):
        logits, state, weights = decoder.step(like(tokens, features.pooled), state)
        weights = weights if attention else None
        log_probs = log_softmax(logits)
        if step == 0:
            sequences = sequences.init_attention(weights)
            log_probs = log_probs[like(rows[:, None], log_probs), like(first, log_probs)]
            state = state.reorder(like(first, features.pooled))
        chosen, tokens = select(
            apply_constraints(log_probs, sequences.ids, options, specials), step
        )  # [P, K]
        ends = tokens == specials.eos
        truncated = (chosen == -math.inf) | (~ends & (step == options.max_tokens))
        for row, index in np.argwhere(alive & (truncated | ends)):
            end = None if truncated[row, index] else float(chosen[row, index])
            finished[rows[row]].append(sequences.hypothesis(row, index, end, options.length_penalty))
        alive &= ~truncated & ~ends
        if not alive.any():
            break
        parents = np.tile(np.arange(num_hypotheses), (len(rows), 1)) if step else first  # [P, K]
        sequences = sequences.append(tokens, chosen, gather_attention(weights, parents))
        kept = np.flatnonzero(alive.any(axis=1))
        if should_shrink_batch(kept.size, len(rows)):
            state, sequences = state.filter(like(kept, features.pooled)), sequences.filter(kept)
            rows, alive, tokens = rows[kept], alive[kept], tokens[kept]
    return [ranked(hypotheses) for hypotheses in finished]


def greedy_search(
    decoder: Any, features: Any, options: DecodingOptions, specials: SpecialTokens, *, attention: bool = False
) -> list[list[Hypothesis]]:
    """Return one hypothesis of each image: the most likely token at every step."""

    def select(log_probs: Array, step: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        # Two, as a beam of one requests, so that both resolve equal logits the same way.
        values, tokens = top_k(log_probs, 2)
        return values[..., 0], tokens[..., 0]

    return generate(
        decoder, features, options, specials, num_hypotheses=1, select=select, attention=attention
    )
