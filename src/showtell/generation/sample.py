"""Sampling: each token is drawn from what the decoder thinks, sharpened and cut as the options say.

Drawn by the Gumbel trick: the largest of log-probability plus Gumbel noise is a sample of the distribution. The
noise depends on the seed, the number of the sample and the position in the sentence alone, so that a picture gets
the same captions in every batch and at every place in it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from showtell.config.generation import DecodingOptions
from showtell.generation.array_ops import Array, like, namespace, take, top_k
from showtell.generation.generate import generate
from showtell.generation.hypothesis import Hypothesis, SpecialTokens


def sample_search(
    decoder: Any, features: Any, options: DecodingOptions, specials: SpecialTokens, *, attention: bool = False
) -> list[list[Hypothesis]]:
    """Return ``samples`` independent sentences about each picture, best score first; two may be equal.

    The log-probabilities of a hypothesis are the decoder's own, before temperature, top-k and top-p.
    """

    def draw(log_probs: Array, said: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        noise = gumbel(options.seed, options.samples, said, log_probs.shape[-1])
        _, tokens = top_k(filter_top_k_top_p(log_probs, options) + like(noise, log_probs), 1)
        return take(log_probs, tokens)[..., 0], tokens[..., 0]

    return generate(
        decoder, features, options, specials, hypotheses=options.samples, choose=draw, attention=attention
    )


def gumbel(seed: int, samples: int, said: int, vocabulary: int) -> npt.NDArray[np.float32]:
    """Return Gumbel noise [K, V]; that of one sample does not depend on how many there are."""
    rows = [np.random.default_rng((seed, said, place)).gumbel(size=vocabulary) for place in range(samples)]
    return np.stack(rows).astype(np.float32)


def filter_top_k_top_p(log_probs: Array, options: DecodingOptions) -> Array:
    """Return log-probabilities [P, K, V] at the set temperature, -infinity where top-k or top-p leave a token out.

    top-p keeps the likeliest tokens until their mass reaches ``top_p`` (Holtzman et al. 2020), of what top-k left.
    """
    xp = namespace(log_probs)
    scaled = log_probs / options.temperature
    if not options.top_k and options.top_p == 1:
        return scaled
    ordered = xp.flip(xp.sort(scaled, axis=-1), axis=-1)
    if 0 < options.top_k < scaled.shape[-1]:
        ordered[..., options.top_k :] = -math.inf
    best = ordered[..., :1]
    # A row where everything is forbidden stays so: its mass is 0, not NaN.
    mass = xp.exp(ordered - xp.where(best > -math.inf, best, 0.0))
    before = xp.cumulative_sum(mass, axis=-1) - mass
    kept = (before < options.top_p * xp.sum(mass, axis=-1, keepdims=True)) & (ordered > -math.inf)
    least = xp.min(xp.where(kept, ordered, math.inf), axis=-1, keepdims=True)
    return xp.where(scaled >= least, scaled, -math.inf)
