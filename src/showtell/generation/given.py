"""Given captions as hypotheses: the decoder's log-probabilities of captions that it did not generate."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from showtell.config.generation import DecodingOptions
from showtell.generation.array_ops import Array
from showtell.generation.constraints import Constraints
from showtell.generation.generate import generate
from showtell.generation.hypothesis import Hypothesis, SpecialTokens


def score_captions(
    decoder: Any,
    features: Any,
    captions: Sequence[Sequence[int]],
    options: DecodingOptions,
    specials: SpecialTokens,
    *,
    attention: bool = False,
    constraints: Constraints = (),
) -> list[Hypothesis | None]:
    """Return a given caption of each image, ids without special tokens, as a search would have scored it.

    It is None if options or constraints forbid it, or if it has probability 0.
    """
    given = np.full((len(captions), max(map(len, captions)) + 1), specials.eos, np.int64)
    for row, ids in zip(given, captions, strict=True):
        row[: len(ids)] = ids

    def select(scores: Array, images: npt.NDArray[np.int64], step: int) -> npt.NDArray[np.int64]:
        return given[images, step, None]

    scored = generate(
        decoder, features, options, specials, select, attention=attention, constraints=constraints
    )
    return [None if each.truncated else each for (each,) in scored]
