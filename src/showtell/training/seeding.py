"""One seed from several numbers, for generators that take one."""

from __future__ import annotations

import numpy as np


def derive_seed(*words: int) -> int:
    """Return a seed, 0 to 2^63 - 1, that is a function of all the words and of their order."""
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)
