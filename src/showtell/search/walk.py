"""Searches that never look back: each of P x K sentences takes one token at a time and goes its own way."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from showtell.options import DecodingOptions
from showtell.search.arrays import Array, like, log_softmax
from showtell.search.hypothesis import Hypothesis, Specials, ranked
from showtell.search.rules import forbid
from showtell.search.sentences import Sentences, picked

Choose = Callable[[Array, int], tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]]


def walk(
    decoder: Any,
    features: Any,
    options: DecodingOptions,
    specials: Specials,
    *,
    hypotheses: int,
    choose: Choose,
    attention: bool = False,
) -> list[list[Hypothesis]]:
    """Return K sentences about each picture, best score first.

    Args:
        hypotheses: K.
        choose: Takes log-probabilities [P, K, V] (-infinity: forbidden) and the number of tokens said; returns
            the log-probabilities [P, K] and the tokens int64 [P, K] of what comes next.
    """
    pictures, penalty = features.pooled.shape[0], options.length_penalty
    state = decoder.begin(features, 1)
    itself = np.tile(np.arange(hypotheses), (pictures, 1))  # [P, K]
    spread = np.zeros_like(itself)
    tokens = np.full((pictures, 1), specials.bos, np.int64)
    lines = Sentences.empty(pictures, hypotheses)
    found: list[list[Hypothesis]] = [[] for _ in range(pictures)]
    going = np.ones((pictures, hypotheses), bool)

    for said in range(options.max_words + 1):
        logits, state, looks = decoder.step(like(tokens, features.pooled), state)
        if attention and said == 0:
            lines = lines.watching(looks)
        log_probs = log_softmax(logits)
        if said == 0 and hypotheses > 1:
            log_probs = log_probs[like(np.arange(pictures)[:, None], log_probs), like(spread, log_probs)]
            state = state.select(like(spread, features.pooled))
        chosen, tokens = choose(forbid(log_probs, lines.ids, options, specials), said)  # [P, K]
        stuck = (chosen == -math.inf) | ((tokens != specials.eos) & (said == options.max_words))
        for picture, place in np.argwhere(going & (stuck | (tokens == specials.eos))):
            end = None if stuck[picture, place] else float(chosen[picture, place])
            found[picture].append(lines.hypothesis(picture, place, end, penalty))
        going &= ~stuck & (tokens != specials.eos)
        if not going.any():
            break
        seen = picked(looks, spread if said == 0 else itself) if attention else None
        lines = lines.append(tokens, chosen, seen)
    return [ranked(sentences) for sentences in found]
