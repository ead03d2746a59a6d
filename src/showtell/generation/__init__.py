"""Turning logits into captions. Knows logits and states, not networks; runs on torch and on numpy."""

from __future__ import annotations

from typing import Any

from showtell.config.generation import DecodingOptions
from showtell.generation.beam import beam_search
from showtell.generation.greedy import greedy_search
from showtell.generation.hypothesis import Hypothesis, SpecialTokens
from showtell.generation.sample import sample_search

__all__ = ["Hypothesis", "SpecialTokens", "search"]

_METHODS = {"beam": beam_search, "greedy": greedy_search, "sample": sample_search}


def search(
    decoder: Any, features: Any, options: DecodingOptions, specials: SpecialTokens, *, attention: bool = False
) -> list[list[Hypothesis]]:
    """Return captions of each picture, best score first, at least one.

    Call it where gradients are off (``torch.inference_mode``) and with the decoder in eval mode.

    Args:
        decoder: Has ``begin(features, K)`` and ``step(tokens, state)`` of the Decoder protocol.
        features: What the encoder saw of P pictures; the search reads the length of ``pooled`` and its device.
        options: Method and limits.
        specials: The ids that are no words.
        attention: Keep where the decoder looked for each word.

    Raises:
        CheckpointError: the logits hold NaN or +infinity.
    """
    if features.pooled.shape[0] == 0:
        return []
    return _METHODS[options.method](decoder, features, options, specials, attention=attention)
