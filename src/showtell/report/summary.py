"""A run as a small folder of Markdown, charts and pictures: what is kept of it when its weights are not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from showtell.checkpoints.portable import strip_recipe_paths
from showtell.errors import DataError, ImageError
from showtell.images.load import load_image
from showtell.report.charts import Series, line_chart
from showtell.report.comparison import read_tuning
from showtell.report.run import Prediction, RunData, read_run, select_examples
from showtell.report.template import asset
from showtell.system.atomic import atomic_directory, read_manifest, write_manifest, write_text

KIND, FORMAT = "showtell summary", 1
PICTURE_PX = 224
COLUMNS = ("BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr-D")


def write_summary(
    run: Path, out: Path, *, title: str | None = None, tuning: Path | None = None, pictures: int = 12
) -> Path:
    """Write ``README.md``, ``recipe.yaml``, SVG charts and a few pictures with their captions.

    Args:
        run: A run that was judged.
        out: The folder; one that a summary stands in already is replaced.
        title: Its heading; None: the run's name.
        tuning: A directory of ``showtell tune`` whose table belongs beside.
        pictures: Pictures shown: a quarter the worst, a quarter the best, the rest evenly chosen.

    Raises:
        DataError: no judged run is there, or something else stands in ``out``.
    """
    facts = read_run(run)
    if not facts.predictions:
        raise DataError(
            f"{run} cannot be summed up", found="no predictions", mend="Let showtell train come to its end"
        )
    if out.exists() and any(out.iterdir()):
        read_manifest(out, KIND, FORMAT)
    with atomic_directory(out) as folder:
        parts = [
            f"# {title or run.resolve().name}",
            _scores(facts),
            _epochs(facts, folder),
            "" if tuning is None else _tuning(tuning),
            _pictures(select_examples(facts.predictions, most=pictures, metric="CIDEr-D"), folder),
            "## Recipe\n\nAs it was run, defaults included: [recipe.yaml](recipe.yaml).",
        ]
        write_text(folder / "README.md", "\n\n".join(part for part in parts if part) + "\n")
        recipe = strip_recipe_paths(yaml.safe_load(facts.recipe))
        write_text(folder / "recipe.yaml", yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True))
        write_manifest(folder, KIND, FORMAT, {"signature": facts.signature})
    return out / "README.md"


def _scores(facts: RunData) -> str:
    names = list(facts.scores)
    lines = [
        as_row(names),
        as_row("---" for _ in names),
        as_row(f"{100 * facts.scores[name]:.2f}" for name in names),
        "",
        f"Scores × 100 of {len(facts.predictions):,} pictures, every one judged by all its references. "
        f"{facts.extent}.",
        "",
        f"`{facts.signature}`",
    ]
    return "\n".join(lines)


def _epochs(facts: RunData, folder: Path) -> str:
    charts = {
        "loss": ("Loss (nats a token)", facts.lines("loss")),
        "bleu": ("BLEU-1 to BLEU-4 × 100", facts.bleu_lines()),
        "cider": ("CIDEr-D × 100", facts.lines("CIDEr-D", scale=100.0)),
    }
    images = []
    for name, (title, drawn) in charts.items():
        write_text(folder / f"{name}.svg", _drawing(title, drawn))
        images.append(f'<img src="{name}.svg" width="300" alt="{title}">')
    trained = {row["epoch"]: row for row in facts.rows if row.get("kind") == "epoch"}
    judged = [row for row in facts.rows if row.get("kind") == "validation"]
    lines = [
        "## By epoch",
        "",
        "Loss (training blue, validation orange), BLEU-1 to BLEU-4 (from the top), CIDEr-D:",
        "",
        " ".join(images),
        "",
        as_row(["epoch", "training loss", "validation loss", *COLUMNS]),
        as_row("---" for _ in range(3 + len(COLUMNS))),
        *(as_row(_epoch(row, trained.get(row["epoch"], {}), facts.scores)) for row in judged),
    ]
    return "\n".join(lines)


def _epoch(row: Mapping[str, Any], trained: Mapping[str, Any], best: Mapping[str, float]) -> list[str]:
    is_best = all(row[name] == value for name, value in best.items())
    epoch = f"**{row['epoch']}**" if is_best else str(row["epoch"])
    loss = f"{trained['loss']:.3f}" if "loss" in trained else ""
    return [epoch, loss, f"{row['loss']:.3f}", *(f"{100 * row[name]:.2f}" for name in COLUMNS)]


def _tuning(directory: Path) -> str:
    table = read_tuning(directory)
    keys = table["keys"]
    rows = [
        [
            *(str(trial["values"][key]) for key in keys),
            trial["state"],
            str(trial["epochs"]),
            "" if trial["loss"] is None else f"{trial['loss']:.3f}",
            *(f"{100 * trial['scores'][name]:.2f}" if trial["scores"] else "" for name in COLUMNS),
        ]
        for trial in table["trials"]
    ]
    header = [*(f"`{key}`" for key in keys), "state", "epochs", "validation loss", *COLUMNS]
    return "\n".join(
        [
            "## What was tried",
            "",
            as_row(header),
            as_row("---" for _ in header),
            *(as_row(row) for row in rows),
        ]
    )


def _pictures(predictions: Sequence[Prediction], folder: Path) -> str:
    lines = ["## Pictures", "", "A quarter the worst by CIDEr-D, a quarter the best, the rest evenly chosen."]
    for number, prediction in enumerate(predictions, 1):
        name = f"{number:02d}.jpg"
        try:
            picture = Image.fromarray(load_image(prediction.picture))
        except ImageError:
            shown = "(picture not found)"
        else:
            picture.thumbnail((PICTURE_PX, PICTURE_PX), Image.Resampling.LANCZOS)
            picture.save(folder / name, "JPEG", quality=80)
            shown = f'<img src="{name}" alt="{_safe(prediction.candidate)}">'
        score = 100 * prediction.scores.get("CIDEr-D", 0.0)
        lines += ["", shown, "", f"**{_safe(prediction.candidate)}** (CIDEr-D {score:.0f})", ""]
        lines += [f"- {_safe(reference)}" for reference in prediction.references]
    return "\n".join(lines)


def _drawing(title: str, lines: Sequence[Series]) -> str:
    """Return a chart as an SVG file with the page's colours."""
    opening = '<svg class="chart"'
    chart = line_chart(title, lines)
    head, _, body = chart.partition(">")
    if not head.startswith(opening):
        raise DataError("nothing to draw", found=f"no values for {title}")
    head = head.replace(opening, '<svg xmlns="http://www.w3.org/2000/svg" class="chart"')
    return f"{head}><style>{asset('page.css')}</style>{body}\n"


def as_row(cells: Iterable[str]) -> str:
    """Return cells as a row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def _safe(text: str) -> str:
    """Return a caption as text that Markdown and HTML leave as it is."""
    for sign, instead in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(sign, instead)
    return " ".join("".join("\\" + sign if sign in "\\`*_[]|" else sign for sign in text).split())
