"""One HTML file that holds a whole run: nothing is fetched, so it opens from a disk, a mail or a server alike.

All that users wrote (captions, paths, recipes) enters the page as JSON in a script element and becomes text nodes
there, never markup; the page forbids itself every connection (Content-Security-Policy).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from showtell.report.charts import STEPS, figure
from showtell.report.photographs import ExamplePhoto, photographs_section
from showtell.report.pictures import pack_attention, thumbnail
from showtell.report.run import Prediction, RunData, read_run, select_examples
from showtell.report.template import asset, embed_json, fill, render
from showtell.system.atomic import write_text
from showtell.system.console import progress

SORTED_BY = "CIDEr-D"
STEP_CHARTS = (
    ("reward", "Reward", "mean of sampled captions"),
    ("lr", "Learning rate", ""),
    ("grad_norm", "Gradient norm", "before clipping"),
    ("captions_per_s", "Captions", "a second"),
    ("tokens_per_s", "Tokens", "a second"),
    ("device_memory_gb", "Memory", "GB, highest so far"),
)


def write_report(
    run: Path,
    *,
    out: Path | None = None,
    predictions: Path | None = None,
    title: str | None = None,
    headline: str = "",
    scores: Mapping[str, float] | None = None,
    signature: str | None = None,
    verdicts: Mapping[str, Sequence[str]] | None = None,
    pictures: int = 200,
    photographs: Sequence[ExamplePhoto] = (),
) -> Path:
    """Write a run's report: curves, scores, options, and pictures with their captions and attention.

    Args:
        run: The run's directory.
        out: Where to; None: ``report.html`` in the run.
        predictions: Which predictions to show; None: ``best/predictions.jsonl``.
        title: The page's heading; None: the run's name.
        headline: One sentence under it.
        scores: Scores of the predictions, on the scale of coco-caption's code; None: those of ``best/``.
        signature: What these depend on; None: that of ``best/``.
        verdicts: What is wrong with the caption of each key, for those whose truth is known.
        pictures: Most pictures shown; of more, the worst, the best and an even choice are taken.
        photographs: Shown with their captions above these; they belong to no set.

    Raises:
        DataError: no run is there, one of its files is broken, or the page cannot be written.
    """
    facts = read_run(run, predictions)
    shown = select_examples(facts.predictions, most=pictures, metric=SORTED_BY)
    values = facts.scores if scores is None else scores
    name = title or run.resolve().name
    main = fill(
        asset("run.html"),
        {
            "scores": _score_tiles(values),
            "signature": escape(facts.signature if signature is None else signature),
            "charts": _charts(facts),
            "extent": escape(facts.extent),
            "options": options_section(facts.recipe),
            "photographs": photographs_section(photographs),
            "choice": escape(_choice(len(shown), len(facts.predictions))),
        },
    )
    data = embed_json({"sortedBy": SORTED_BY, "pictures": _cards(shown, verdicts)})
    script = fill(asset("script.html"), {"data": data, "script": asset("page.js")})
    path = run / "report.html" if out is None else out
    write_text(path, render(name, headline, main, script=script))
    return path


def _cards(
    predictions: Sequence[Prediction], verdicts: Mapping[str, Sequence[str]] | None
) -> list[dict[str, Any]]:
    cards = []
    with progress("report", len(predictions), unit="pictures") as advance:
        for prediction in predictions:
            card: dict[str, Any] = {
                "key": prediction.key,
                "image": thumbnail(prediction.picture),
                "candidate": prediction.candidate,
                "words": prediction.words,
                "references": prediction.references,
                "scores": {name: round(100 * value, 1) for name, value in prediction.scores.items()},
                "attention": pack_attention(prediction),
            }
            if verdicts is not None and prediction.key in verdicts:
                card["wrong"] = list(verdicts[prediction.key])
            cards.append(card)
            advance(1, "")
    return cards


def _charts(facts: RunData) -> str:
    by_epoch = [
        figure("Loss", "nats a token", facts.lines("loss")),
        figure("BLEU", "× 100, validation", facts.bleu_lines()),
        *(figure(name, "× 100", facts.lines(name, scale=100.0)) for name in ("CIDEr-D", "ROUGE-L")),
    ]
    by_step = [
        figure(name, unit, [line], STEPS)
        for quantity, name, unit in STEP_CHARTS
        if (line := facts.step_line(quantity, name)).points
    ]
    return "".join(by_epoch + by_step)


def options_section(recipe: str) -> str:
    """Return a recipe's text, folded, as HTML."""
    return fill(asset("options.html"), {"recipe": escape(recipe)})


def _score_tiles(scores: Mapping[str, float]) -> str:
    if not scores:
        return '<p class="none">No scores yet.</p>'
    tiles = (
        f"<div><dt>{escape(name)}</dt><dd>{100 * value:.1f}</dd></div>" for name, value in scores.items()
    )
    return f'<dl class="tiles">{"".join(tiles)}</dl>'


def _choice(shown: int, total: int) -> str:
    if shown == total:
        return f"All {total:,} pictures that were judged."
    return (
        f"{shown:,} of {total:,} pictures: a quarter the worst, a quarter the best, the rest evenly chosen."
    )
