"""Greedy search: the likeliest token, always."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from showtell.config.generation import DecodingOptions
from showtell.generation.array_ops import Array, top_k
from showtell.generation.generate import generate
from showtell.generation.hypothesis import Hypothesis, SpecialTokens


def greedy_search(
    decoder: Any, features: Any, options: DecodingOptions, specials: SpecialTokens, *, attention: bool = False
) -> list[list[Hypothesis]]:
    """Return one sentence about each picture."""

    def likeliest(log_probs: Array, said: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        # Two, as a beam of one asks for: equal logits are then resolved alike.
        values, tokens = top_k(log_probs, 2)
        return values[..., 0], tokens[..., 0]

    return generate(decoder, features, options, specials, hypotheses=1, choose=likeliest, attention=attention)
