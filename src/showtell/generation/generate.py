"""Greedy search and sampling: each of P x K sequences takes one token at a time, without backtracking.

Tokens are drawn by the Gumbel trick: the argmax of log-probability plus Gumbel noise is a sample of the distribution.
The noise depends only on the seed, the image, the sample's number and the step, so an image gets the same captions in
every batch and at every position in it, and the captions of different images are independent.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from showtell.config.generation import DecodingOptions
from showtell.generation.array_ops import Array, like, log_softmax, namespace, take, top_k
from showtell.generation.constraints import Constraints, apply_constraints, penalize_repetition
from showtell.generation.hypothesis import (
    Hypothesis,
    OnStep,
    RunningHypotheses,
    SpecialTokens,
    ranked,
    should_shrink,
)
from showtell.generation.noise import gumbel_noise
from showtell.system.batch_pool import cancellable

SelectToken: TypeAlias = Callable[[Array, npt.NDArray[np.int64], int], npt.NDArray[np.int64]]
"""Returns the next tokens [P, K], given scores [P, K, V], the images of the rows [P], and the number of the step."""


def greedy_or_sample(
    decoder: Any,
    features: Any,
    options: DecodingOptions,
    specials: SpecialTokens,
    *,
    attention: bool = False,
    keys: Sequence[int] | None = None,
    on_step: OnStep | None = None,
    constraints: Constraints = (),
) -> list[list[Hypothesis]]:
    """Return K hypotheses of each image, best score first: the greedy one, or ``samples`` independent ones.

    Two samples may be equal. After ``max_tokens`` only the end may follow, as in beam search. Log-probabilities are
    the decoder's, before temperature, top-k and top-p. ``keys``, ``on_step`` and ``constraints`` are those
    of `showtell.generation.search`.
    """
    if options.method != "sample":
        keys = None

    def select(scores: Array, images: npt.NDArray[np.int64], step: int) -> npt.NDArray[np.int64]:
        return _select(scores, options, keys and [keys[image] for image in images], step)

    return generate(
        decoder,
        features,
        options,
        specials,
        select,
        options.samples if options.method == "sample" else 1,
        attention=attention,
        on_step=on_step,
        constraints=constraints,
    )


def generate(
    decoder: Any,
    features: Any,
    options: DecodingOptions,
    specials: SpecialTokens,
    select: SelectToken,
    num_hypotheses: int = 1,
    *,
    attention: bool = False,
    on_step: OnStep | None = None,
    constraints: Constraints = (),
) -> list[list[Hypothesis]]:
    """Return K hypotheses of each image, best score first, of the tokens that ``select`` returns."""
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
        log_probs = apply_constraints(log_probs, sequences.ids, options, specials, constraints)
        tokens = select(penalize_repetition(log_probs, sequences.ids, options), rows, step)
        chosen = take(log_probs, tokens[:, :, None])[..., 0]
        ends = tokens == specials.eos
        truncated = chosen == -math.inf
        for row, index in np.argwhere(alive & (truncated | ends)):
            end = None if truncated[row, index] else float(chosen[row, index])
            finished[rows[row]].append(sequences.hypothesis(row, index, end, options))
        alive &= ~truncated & ~ends
        if not alive.any():
            break
        parents = np.tile(np.arange(num_hypotheses), (len(rows), 1)) if step else first  # [P, K]
        sequences = sequences.append(tokens, chosen, weights, parents)
        kept = np.flatnonzero(alive.any(axis=1))
        if on_step is not None:
            on_step(rows[kept], sequences.filter(kept))
        if should_shrink(kept.size, len(rows)):
            state, sequences = state.filter(like(kept, features.pooled)), sequences.filter(kept)
            rows, alive, tokens = rows[kept], alive[kept], tokens[kept]
    return [ranked(hypotheses) for hypotheses in finished]


def _select(
    scores: Array, options: DecodingOptions, keys: Sequence[int] | None, step: int
) -> npt.NDArray[np.int64]:
    """Return the next tokens by scores [P, K, V]: sampled for images with ``keys``, else the best ones."""
    if keys is not None:
        noise = gumbel_noise(options.seed, keys, options.samples, step, scores.shape[-1])
        scores = filter_top_k_top_p(scores, options) + like(noise, scores)
    return top_k(scores, 1)[1][..., 0]


def filter_top_k_top_p(log_probs: Array, options: DecodingOptions) -> Array:
    """Return log-probabilities [P, K, V] over the temperature, -infinity where top-k or top-p exclude a token.

    Top-p keeps the most likely tokens that top-k left until their mass reaches ``top_p`` (Holtzman et al. 2020).
    """
    xp = namespace(log_probs)
    scaled = log_probs / options.temperature
    if not options.top_k and options.top_p == 1:
        return scaled
    ordered = xp.flip(xp.sort(scaled, axis=-1), axis=-1)
    if 0 < options.top_k < scaled.shape[-1]:
        ordered[..., options.top_k :] = -math.inf
    best = ordered[..., :1]
    # The mass of a row whose tokens are all banned is 0, not NaN.
    mass = xp.exp(ordered - xp.where(best > -math.inf, best, 0.0))
    before = xp.cumulative_sum(mass, axis=-1) - mass
    kept = (before < options.top_p * xp.sum(mass, axis=-1, keepdims=True)) & (ordered > -math.inf)
    least = xp.min(xp.where(kept, ordered, math.inf), axis=-1, keepdims=True)
    return xp.where(scaled >= least, scaled, -math.inf)
