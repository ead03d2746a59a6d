"""Decoding: turns logits into captions. Knows logits and states, not networks; runs on torch and on numpy."""

from typing import Any

from showtell.config.generation import DecodingOptions
from showtell.generation.beam import beam_search
from showtell.generation.generate import greedy_or_sample
from showtell.generation.hypothesis import Hypothesis, SpecialTokens

__all__ = ["Hypothesis", "SpecialTokens", "search"]


def search(
    decoder: Any, features: Any, options: DecodingOptions, specials: SpecialTokens, *, attention: bool = False
) -> list[list[Hypothesis]]:
    """Return at least one caption of each image, best score first.

    Call it with gradients off (``torch.inference_mode``) and the decoder in eval mode. Of the decoder, ``init_state``
    and ``step`` are called; of the features, only the length and the device of ``pooled`` are read here. With
    ``attention`` the hypotheses have the attention weights of each token.

    Raises:
        CheckpointError: the logits hold NaN or +infinity.
    """
    if features.pooled.shape[0] == 0:
        return []
    method = beam_search if options.method == "beam" else greedy_or_sample
    return method(decoder, features, options, specials, attention=attention)
