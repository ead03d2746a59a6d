"""The calibration of a captioner as tables and as a reliability diagram."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import TYPE_CHECKING

import numpy as np

from showtell.config.confidence import MeasuredConfidence
from showtell.metrics.calibration import aurc, aurc_difference
from showtell.report.charts import OTHER, PALETTE, Axis, Chart, Series
from showtell.system.console import text_table

if TYPE_CHECKING:
    from showtell.training.calibrate import Measured

COVERAGES = (100, 90, 80, 60, 40, 20)


def confidence_report(measured: Sequence[Measured]) -> str:
    """Return tables of calibration errors, of rankings, and of what is kept above a confidence.

    The bounds of confidence are those that keep a part of the first set. A difference of rankings is ours less that
    of the captioner's own score, with its interval (`showtell.metrics.calibration.aurc_difference`).
    """
    errors = [["images", "", "words: error", "captions: error", "mean confidence", "right"]]
    for each in measured:
        how = "cross-fitted" if each.figures.cross_fitted else "not fitted on"
        found = (
            each.figures.word_error,
            each.figures.caption_error,
            each.confidence.mean(),
            1 - each.wrong.mean(),
        )
        errors.append([_named(each.name, each.wrong), how, *(f"{value:.3f}" for value in found)])
    ranked = [(each.name, each.confidence, each.score, each.wrong) for each in measured]
    if len(ranked) > 1:
        _, *columns = zip(*ranked, strict=True)
        confidence, score, wrong = map(np.concatenate, columns)
        ranked.append(("all", confidence, score, wrong))
    ranks = [["images", "AURC", "by score", "difference"]]
    for name, confidence, score, wrong in ranked:
        difference, low, high = aurc_difference(confidence, score, wrong)
        areas = [f"{aurc(ranking, wrong):.4f}" for ranking in (confidence, score)]
        ranks.append([_named(name, wrong), *areas, f"{difference:+.4f} [{low:+.4f}, {high:+.4f}]"])
    bounds = [float(np.quantile(measured[0].confidence, 1 - part / 100)) for part in COVERAGES]
    kept = [["unsure below", *(f"{each.name}: kept | right | CIDEr-D" for each in measured)]]
    for bound in bounds:
        cells = []
        for each in measured:
            chosen = each.confidence >= bound
            if not chosen.any():
                cells.append("0 %")
                continue
            right, quality = 1 - each.wrong[chosen].mean(), 100 * each.quality[chosen].mean()
            cells.append(f"{chosen.mean():.0%} | {right:.0%} | {quality:.1f}")
        kept.append([f"{bound:.2f}", *cells])
    return "\n\n".join(map(text_table, (errors, ranks, kept)))


def reliability_chart(measured: Sequence[MeasuredConfidence]) -> Chart:
    """Return how often words and captions of the first set are right, by their confidence; the diagonal is ideal."""
    first, series = measured[0], [Series("ideal", OTHER, [(0.0, 0.0), (1.0, 1.0)])]
    for name, style, bins in (("words", PALETTE[0], first.words), ("captions", PALETTE[1], first.captions)):
        series.append(Series(name, style, [(each.confidence, each.right) for each in bins]))
    return Chart(
        "Reliability", "fraction that is right", series, Axis("confidence", is_whole=False), min_span=1.0
    )


def _named(name: str, images: Sized) -> str:
    return f"{name} ({len(images):,})"
