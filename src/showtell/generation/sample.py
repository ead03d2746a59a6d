"""Sampling with temperature, top-k and top-p.

Tokens are drawn by the Gumbel trick: the argmax of log-probability plus Gumbel noise is a sample of the distribution.
The noise depends only on the seed, the sample's number and the step, so an image gets the same captions in every
batch and at every position in it.
"""

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
    """Return ``samples`` independent hypotheses of each image, best score first; two may be equal.

    Their log-probabilities are the decoder's, before temperature, top-k and top-p.
    """

    def select(log_probs: Array, step: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        noise = gumbel_noise(options.seed, options.samples, step, log_probs.shape[-1])
        _, tokens = top_k(filter_top_k_top_p(log_probs, options) + like(noise, log_probs), 1)
        return take(log_probs, tokens)[..., 0], tokens[..., 0]

    return generate(
        decoder,
        features,
        options,
        specials,
        num_hypotheses=options.samples,
        select=select,
        attention=attention,
    )


def gumbel_noise(seed: int, samples: int, step: int, vocabulary: int) -> npt.NDArray[np.float32]:
    """Return Gumbel noise [K, V]; a sample's noise does not depend on the number of samples."""
    rows = [np.random.default_rng((seed, step, index)).gumbel(size=vocabulary) for index in range(samples)]
    return np.stack(rows).astype(np.float32)


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
