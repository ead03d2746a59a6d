"""Decoding: turns logits into captions. Knows logits and states, not networks; runs on torch and on numpy."""

from typing import Any

from showtell.config.generation import DecodingOptions
from showtell.generation.beam import beam_search
from showtell.generation.generate import greedy_search
from showtell.generation.hypothesis import Hypothesis, SpecialTokens
from showtell.generation.sample import sample_search

__all__ = ["Hypothesis", "SpecialTokens", "search"]

_METHODS = {"beam": beam_search, "greedy": greedy_search, "sample": sample_search}


def search(
    decoder: Any, features: Any, options: DecodingOptions, specials: SpecialTokens, *, attention: bool = False
) -> list[list[Hypothesis]]:
    """Return at least one caption of each image, best score first.

    Call it with gradients off (``torch.inference_mode``) and the decoder in eval mode.

    Args:
        decoder: Has ``init_state(features, K)`` and ``step(tokens, state)`` of the Decoder protocol.
        features: Encoder output for P images; only the length and the device of ``pooled`` are read here.
        options: Method and limits.
        specials: The ids of the special tokens.
        attention: Return the attention weights of each token.

    Raises:
        CheckpointError: the logits hold NaN or +infinity.
    """
    if features.pooled.shape[0] == 0:
        return []
    return _METHODS[options.method](decoder, features, options, specials, attention=attention)
