"""Stochastic beam search: different captions, drawn without replacement.

Kool et al. 2019, "Stochastic Beams and Where to Find Them: The Gumbel-Top-k Trick for Sampling Sequences Without
Replacement".

Each caption has a perturbed log-probability: Gumbel noise added to that of the distribution that is sampled. Those
with the K highest are the draws. They are found without all captions: the highest one below a beginning is
distributed as if the beginning were one caption, and those of its extensions are drawn given that maximum. The noise
is a function of the seed, the image's key and the beginning, so that with more draws the first ones stay the same.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from showtell.config.generation import DecodingOptions
from showtell.generation.array_ops import like, log_softmax, logsumexp, take, to_numpy, top_k
from showtell.generation.constraints import Constraints, apply_constraints, penalize_repetition
from showtell.generation.generate import filter_top_k_top_p
from showtell.generation.hypothesis import Hypothesis, RunningHypotheses, SpecialTokens, ranked, should_shrink
from showtell.generation.noise import gumbel_noise_after
from showtell.system.batch_pool import cancellable

_Floats = npt.NDArray[np.float64]


def sample_without_replacement(
    decoder: Any,
    features: Any,
    options: DecodingOptions,
    specials: SpecialTokens,
    keys: Sequence[int],
    *,
    attention: bool = False,
    constraints: Constraints = (),
) -> list[list[Hypothesis]]:
    """Return ``samples`` different hypotheses of each image, or all that are possible, best score first.

    The first draw is one of sampling with these options, temperature, top-k and top-p included; log-probabilities are
    the decoder's without them.
    """
    count, batch_size = options.samples, features.pooled.shape[0]
    rows = np.arange(batch_size)  # the image of each row of the batch
    state = decoder.init_state(features, 1)
    tokens = np.full((batch_size, 1), specials.bos, np.int64)
    sequences = RunningHypotheses.empty(batch_size, 1)
    sampled = np.zeros((batch_size, 1))  # log-probabilities [P, K] in the distribution that is sampled
    perturbed = np.zeros((batch_size, 1))  # the highest perturbed one below each beginning; -infinity: none
    drawn: list[list[tuple[float, Hypothesis]]] = [[] for _ in range(batch_size)]

    for step in cancellable(range(options.max_tokens + 1)):
        logits, state, weights = decoder.step(like(tokens, features.pooled), state)
        weights = weights if attention else None
        if step == 0:
            sequences = sequences.init_attention(weights)
        log_probs = apply_constraints(log_softmax(logits), sequences.ids, options, specials, constraints)
        scores = filter_top_k_top_p(penalize_repetition(log_probs, sequences.ids, options), options)
        total = to_numpy(logsumexp(scores)).astype(np.float64)  # [P, K]; -infinity: nothing may follow
        for row, index in np.argwhere(np.isneginf(total) & np.isfinite(perturbed)):
            cut = sequences.hypothesis(row, index, None, options)
            drawn[rows[row]].append((float(perturbed[row, index]), cut))
        noise = gumbel_noise_after(options.seed, [keys[row] for row in rows], sequences.ids, scores.shape[-1])
        values, extensions = top_k(scores + like(noise, scores), count)  # [P, K, N]
        with np.errstate(invalid="ignore"):
            base = (sampled - total)[..., None]
            below = _given_maximum(values + base, perturbed[..., None])
            following = take(scores, extensions) + base
        shape = (len(rows), -1)
        below = np.where(np.isfinite(values + below), below, -math.inf).reshape(shape)
        leaves = np.full((len(rows), count), -math.inf)
        for row, image in enumerate(rows):
            best = sorted((value for value, _ in drawn[image]), reverse=True)[:count]
            leaves[row, : len(best)] = best
        limit = np.sort(np.concatenate((leaves, below), axis=1), axis=1)[:, -count, None]
        order = np.argsort(-below, axis=1, kind="stable")[:, :count]
        chosen = np.take_along_axis(below, order, axis=1)
        parents = order // values.shape[2]
        picked = np.take_along_axis(extensions.reshape(shape), order, axis=1)
        chosen = np.where(chosen >= limit, chosen, -math.inf)
        own = np.take_along_axis(take(log_probs, extensions).reshape(shape), order, axis=1)
        for row, index in np.argwhere((picked == specials.eos) & np.isfinite(chosen)):
            end = float(own[row, index])
            whole = sequences.hypothesis(row, parents[row, index], end, options)
            drawn[rows[row]].append((float(chosen[row, index]), whole))
        perturbed = np.where(picked == specials.eos, -math.inf, chosen)
        sampled = np.take_along_axis(following.reshape(shape), order, axis=1)
        alive = np.flatnonzero(np.isfinite(perturbed).any(axis=1))
        if not alive.size:
            break
        sequences = sequences.reorder(parents).append(picked, own, weights, parents)
        state = state.reorder(like(parents, features.pooled))
        tokens = picked
        if should_shrink(alive.size, len(rows)):
            state, sequences = state.filter(like(alive, features.pooled)), sequences.filter(alive)
            rows, sampled, perturbed, tokens = rows[alive], sampled[alive], perturbed[alive], tokens[alive]
    return [ranked(each for _, each in sorted(every, key=_by_value)[:count]) for every in drawn]


def _by_value(draw: tuple[float, Hypothesis]) -> float:
    return -draw[0]


def _given_maximum(values: _Floats, maximum: _Floats) -> _Floats:
    """Return Gumbel variables [..., N], the highest first, as if the highest were ``maximum`` [..., 1].

    This is the stable form of Kool et al. 2019, appendix B.3.
    """
    with np.errstate(divide="ignore", over="ignore"):
        shifted = maximum - values + np.log1p(-np.exp(values - values[..., :1]))
    shifted[..., 0] = -math.inf
    return maximum - np.maximum(shifted, 0.0) - np.log1p(np.exp(-np.abs(shifted)))
