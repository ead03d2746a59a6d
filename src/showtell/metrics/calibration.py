"""How well probabilities fit what happens, and how well they rank: calibration error, risk against coverage.

The expected calibration error is the mean distance between predicted probability and frequency over equally wide
bins, weighted by their predictions (Guo et al. 2017, "On Calibration of Modern Neural Networks"). The risk of a
ranking at a coverage is the mean risk of what is kept, the best-ranked first, and AURC is its mean over all coverages
(Geifman et al. 2019, "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers").
"""

import numpy as np
import numpy.typing as npt

from showtell.config.confidence import ReliabilityBin
from showtell.metrics.bootstrap import DRAWS, LEVEL
from showtell.metrics.ngrams import Floats

BINS = 15
Numbers = npt.NDArray[np.float64] | npt.NDArray[np.bool_]


def reliability(probabilities: Floats, right: Numbers, *, bins: int = BINS) -> list[ReliabilityBin]:
    """Return the bins that have predictions; probabilities and what happened (0 or 1) are [N] each."""
    numbers = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    counts = np.bincount(numbers, minlength=bins)
    means = [np.bincount(numbers, values, bins) / np.maximum(counts, 1) for values in (probabilities, right)]
    return [
        ReliabilityBin(confidence=float(mean), right=float(frequency), count=int(count))
        for mean, frequency, count in zip(*means, counts, strict=True)
        if count
    ]


def calibration_error(bins: list[ReliabilityBin]) -> float:
    """Return the expected calibration error of bins, 0..1; 0 of none."""
    total = sum(each.count for each in bins) or 1
    return sum(each.count * abs(each.confidence - each.right) for each in bins) / total


def selective_risks(ranking: Floats, risks: Numbers) -> Floats:
    """Return the mean risk of the 1, 2, ... N with the highest rank, float64 [N]; equal ones keep their order."""
    order = np.argsort(-ranking, kind="stable")
    risk: Floats = np.cumsum(risks[order], dtype=np.float64) / np.arange(1, len(order) + 1)
    return risk


def aurc(ranking: Floats, risks: Numbers) -> float:
    """Return the area under the curve of risk against coverage, 0..1, less is better."""
    return float(selective_risks(ranking, risks).mean())


def aurc_difference(
    ours: Floats, theirs: Floats, risks: Numbers, *, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float, float]:
    """Return our AURC less theirs, and the interval that holds 95 % of paired draws of the N images."""
    generator = np.random.default_rng(seed)
    differences = []
    for _ in range(draws):
        drawn = generator.integers(0, len(risks), len(risks))
        differences.append(aurc(ours[drawn], risks[drawn]) - aurc(theirs[drawn], risks[drawn]))
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(differences, [tail, 100 - tail])
    return aurc(ours, risks) - aurc(theirs, risks), float(low), float(high)
