"""One HTML file that holds a whole run: it opens from a disk, a mail or a server alike.

User text (captions, paths, recipes) is escaped, or enters as JSON in a script element and becomes text nodes there.
The page forbids all connections (Content-Security-Policy).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from showtell.report.images import pack_attention, thumbnail
from showtell.report.run import Prediction, RunData, read_run, run_directory, select_examples
from showtell.report.templates import render
from showtell.system.atomic import write_text
from showtell.system.console import progress_bar
from showtell.system.reading import foreign_values

SORTED_BY = "CIDEr-D"


@dataclass(frozen=True)
class ExamplePhoto:
    """A captioned photograph that belongs to no prepared set; ``credit`` is what it shows, its author and license."""

    path: Path
    caption: str
    credit: str


def write_report(
    run: Path,
    *,
    out: Path | None = None,
    predictions: Path | None = None,
    title: str | None = None,
    headline: str = "",
    verdicts: Mapping[str, Sequence[str]] | None = None,
    num_images: int = 200,
    photos: Sequence[ExamplePhoto] = (),
) -> Path:
    """Write a run's report: curves, scores, recipe, and images with their captions and attention.

    The page is ``report.html`` in the run, unless ``out`` names it; its heading is the run's name, unless ``title``
    does, with the sentence ``headline`` under it. ``predictions`` are shown with their own scores instead of those
    of ``best/``: at most ``num_images``, the worst, the best and an even choice; ``photos`` above them. ``verdicts``
    say what is wrong with the caption of each key, if the truth is known.

    Raises:
        DataError: no run is there, one of its files is broken, or the page cannot be written.
    """
    run = run_directory(run)
    with foreign_values(run):
        data = read_run(run, predictions)
        html = _render(data, run, title, headline, verdicts or {}, num_images, photos)
    path = run / "report.html" if out is None else out
    write_text(path, html)
    return path


def _render(
    data: RunData,
    run: Path,
    title: str | None,
    headline: str,
    verdicts: Mapping[str, Sequence[str]],
    num_images: int,
    photos: Sequence[ExamplePhoto],
) -> str:
    examples = select_examples(data.predictions, most=num_images, metric=SORTED_BY)
    return render(
        "run.html",
        title=title or run.resolve().name,
        headline=headline,
        run=data,
        photos=[(thumbnail(photo.path), photo) for photo in photos],
        sorted_by=SORTED_BY,
        cards=_cards(examples, verdicts),
    )


def _cards(predictions: Sequence[Prediction], verdicts: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    cards = []
    with progress_bar("report", len(predictions), unit="images") as advance:
        for prediction in predictions:
            card: dict[str, Any] = {
                "key": prediction.key,
                "image": thumbnail(prediction.image),
                "candidate": prediction.candidate,
                "words": prediction.words,
                "references": prediction.references,
                "scores": {name: round(100 * value, 1) for name, value in prediction.scores.items()},
                "attention": pack_attention(prediction),
                "neighbours": [
                    [round(100 * each.fraction), each.key, each.captions] for each in prediction.neighbours
                ],
            }
            if prediction.key in verdicts:
                card["wrong"] = list(verdicts[prediction.key])
            cards.append(card)
            advance(1, "")
    return cards
