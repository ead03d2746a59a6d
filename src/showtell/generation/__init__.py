"""Decoding: turns logits into captions. Knows logits and states, not networks; runs on torch and on numpy."""

from collections.abc import Sequence
from typing import Any

from showtell.config.generation import DecodingOptions
from showtell.generation.array_ops import namespace, to_numpy
from showtell.generation.beam import beam_search
from showtell.generation.constraints import Constraint, Constraints, meets
from showtell.generation.control import build_constraints, describe_unused
from showtell.generation.generate import greedy_or_sample
from showtell.generation.given import score_captions
from showtell.generation.hypothesis import Hypothesis, OnStep, SpecialTokens
from showtell.generation.noise import sampling_keys
from showtell.generation.stochastic_beam import sample_without_replacement

__all__ = [
    "Constraint",
    "Constraints",
    "Hypothesis",
    "OnStep",
    "SpecialTokens",
    "build_constraints",
    "describe_unused",
    "meets",
    "sampling_keys",
    "score_captions",
    "search",
]


def search(
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
    """Return at least one caption of each image, best score first.

    Call it with gradients off (``torch.inference_mode``) and the decoder in eval mode. Of the decoder, ``init_state``
    and ``step`` are called; of the features, only ``pooled`` is read here. With ``attention`` the hypotheses have the
    attention weights of each token. Samples are a function of the seed and the image's key, an integer from 0 on;
    without ``keys`` (see `sampling_keys`) it is that of its pooled features. ``on_step`` is called after each token
    of greedy search and sampling; beam search and sampling without replacement never call it, as their next token may
    come from another hypothesis.

    Raises:
        CheckpointError: the logits hold NaN or +infinity.
    """
    if features.pooled.shape[0] == 0:
        return []
    if options.method == "beam":
        return beam_search(decoder, features, options, specials, attention=attention, constraints=constraints)
    if options.method == "sample" and keys is None:
        xp = namespace(features.pooled)
        keys = sampling_keys(to_numpy(xp.astype(features.pooled, xp.float32)), options)
    if options.method == "sample" and options.without_replacement and options.samples > 1:
        assert keys is not None
        return sample_without_replacement(
            decoder, features, options, specials, keys, attention=attention, constraints=constraints
        )
    return greedy_or_sample(
        decoder,
        features,
        options,
        specials,
        attention=attention,
        keys=keys,
        on_step=on_step,
        constraints=constraints,
    )
