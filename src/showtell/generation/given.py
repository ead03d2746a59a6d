"""Given captions as hypotheses: the decoder's log-probabilities of captions that it did not generate."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from showtell.config.generation import DecodingOptions
from showtell.generation.array_ops import like, log_softmax, take
from showtell.generation.constraints import apply_constraints
from showtell.generation.hypothesis import Hypothesis, RunningHypotheses, SpecialTokens
from showtell.system.batch_pool import cancellable


def score_captions(
    decoder: Any,
    features: Any,
    captions: Sequence[Sequence[Sequence[int]]],
    options: DecodingOptions,
    specials: SpecialTokens,
    *,
    attention: bool = False,
) -> list[list[Hypothesis]]:
    """Return the given captions of each image, ids without special tokens, as a search would have scored them.

    Those that the options forbid, or that have probability 0, are left out.
    """
    num_given = max(map(len, captions), default=0)
    scored: list[list[Hypothesis]] = [[] for _ in captions]
    if not num_given:
        return scored
    lengths = np.array(
        [[len(ids) for ids in several] + [-1] * (num_given - len(several)) for several in captions]
    )  # [P, K]; -1: no caption
    given = np.full((*lengths.shape, lengths.max() + 1), specials.eos, np.int64)
    for image, several in enumerate(captions):
        for place, ids in enumerate(several):
            given[image, place, : len(ids)] = ids
    rows, first = np.arange(len(captions))[:, None], np.zeros(lengths.shape, np.int64)
    state = decoder.init_state(features, 1)
    tokens = np.full((len(captions), 1), specials.bos, np.int64)
    sequences = RunningHypotheses.empty(*lengths.shape)
    for step in cancellable(range(min(given.shape[2], options.max_tokens + 1))):
        logits, state, weights = decoder.step(like(tokens, features.pooled), state)
        weights = weights if attention else None
        log_probs = log_softmax(logits)
        if step == 0:
            sequences = sequences.init_attention(weights)
            log_probs = log_probs[like(rows, log_probs), like(first, log_probs)]
            state = state.reorder(like(first, features.pooled))
        log_probs = apply_constraints(log_probs, sequences.ids, options, specials)
        tokens = given[:, :, step]
        chosen = take(log_probs, tokens[:, :, None])[..., 0]  # [P, K]
        for image, place in np.argwhere((lengths == step) & np.isfinite(chosen)):
            hypothesis = sequences.hypothesis(
                image, place, float(chosen[image, place]), options.length_penalty
            )
            if np.isfinite(hypothesis.log_prob):
                scored[image].append(hypothesis)
        parents = np.tile(np.arange(num_given), (len(captions), 1)) if step else first
        sequences = sequences.append(tokens, chosen, weights, parents)
    return scored
