"""A run as a small folder of Markdown, charts and images, to keep when its weights are not."""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from PIL import Image, ImageFont

from showtell.checkpoints.model_card import strip_recipe_paths
from showtell.errors import DataError, ImageError
from showtell.images.load import load_image
from showtell.report.charts import Chart
from showtell.report.comparison import percent, read_tuning
from showtell.report.run import Prediction, RunData, read_run, run_directory, select_examples
from showtell.system.atomic import atomic_directory, read_manifest, write_manifest, write_text

KIND, FORMAT = "showtell summary", 1
IMAGE_PX = 224
CHARTS = ("loss", "bleu", "cider")
COLUMNS = ("BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr-D")


def write_summary(
    run: Path, out: Path, *, title: str | None = None, tuning: Path | None = None, num_images: int = 12
) -> Path:
    """Write ``README.md``, ``recipe.yaml``, charts (SVG and PNG) and a few images with their captions.

    An earlier summary in ``out`` is replaced. ``tuning`` is a directory of ``showtell tune`` whose table is shown
    too.

    Raises:
        DataError: no evaluated run is there, or ``out`` holds something else.
    """
    run = run_directory(run)
    data = read_run(run)
    if not data.predictions:
        raise DataError(
            f"{run} cannot be summarized", found="no predictions", mend="Let showtell train finish"
        )
    if out.exists() and any(out.iterdir()):
        read_manifest(out, KIND, FORMAT)
    with atomic_directory(out) as folder:
        parts = [
            f"# {title or run.resolve().name}",
            _scores(data),
            _epochs(data, folder),
            "" if tuning is None else _tuning(tuning),
            _images(select_examples(data.predictions, most=num_images, metric="CIDEr-D"), folder),
            "## Recipe\n\nAs it was run, defaults included: [recipe.yaml](recipe.yaml).",
        ]
        write_text(folder / "README.md", "\n\n".join(part for part in parts if part) + "\n")
        recipe = strip_recipe_paths(yaml.safe_load(data.recipe))
        write_text(folder / "recipe.yaml", yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True))
        write_manifest(folder, KIND, FORMAT, {"signature": data.signature})
    return out / "README.md"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], rule: Sequence[str] = ()) -> str:
    """Return a Markdown table; ``rule`` are the marks under the head, ``---:`` aligns to the right."""
    lines = [head, rule or ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _scores(data: RunData) -> str:
    split = f" of the split {data.split}" if data.split else ""
    return "\n".join(
        [
            markdown_table(list(data.scores), [[percent(value) for value in data.scores.values()]]),
            "",
            f"Scores × 100 of {len(data.predictions):,} images{split}, each against all its references. "
            f"{data.extent}.",
            "",
            f"`{data.signature}`",
        ]
    )


def _epochs(data: RunData, folder: Path) -> str:
    images = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, chart in zip(CHARTS, data.score_charts, strict=False):
            svg = str(chart.svg(standalone=True))
            write_text(folder / f"{name}.svg", svg)
            (folder / f"{name}.png").write_bytes(_to_png(svg, Path(scratch)))
            images.append(f'<img src="{name}.svg" width="300" alt="{_alt(chart)}">')
    trained = {row["epoch"]: row for row in data.rows if row.get("event") == "epoch"}
    rows = [
        _epoch(row, trained.get(row["epoch"], {}), data.scores)
        for row in data.rows
        if row.get("event") == "validation"
    ]
    table = markdown_table(["epoch", "training loss", "validation loss", *COLUMNS], rows)
    return f"## By epoch\n\n{' '.join(images)}\n\n{table}"


def _alt(chart: Chart) -> str:
    return f"{chart.title} ({chart.unit}) by {chart.axis.name}"


def _to_png(svg: str, scratch: Path) -> bytes:
    """Return a chart at twice its size, with Pillow's font: the same image on every machine."""
    import resvg_py

    font = ImageFont.load_default(12)
    assert isinstance(font, ImageFont.FreeTypeFont)
    file = scratch / "font.ttf"
    file.write_bytes(font.font_bytes)
    # That font has no multiplication sign.
    return bytes(
        resvg_py.svg_to_bytes(
            svg_string=svg.replace("×", "x"),
            zoom=2,
            skip_system_fonts=True,
            font_files=[str(file)],
            sans_serif_family=font.getname()[0],
        )
    )


def _epoch(row: Mapping[str, Any], trained: Mapping[str, Any], best: Mapping[str, float]) -> list[str]:
    is_best = all(row[name] == value for name, value in best.items())
    epoch = f"**{row['epoch']}**" if is_best else str(row["epoch"])
    loss = f"{trained['loss']:.3f}" if "loss" in trained else ""
    return [epoch, loss, f"{row['loss']:.3f}", *(percent(row[name]) for name in COLUMNS)]


def _tuning(directory: Path) -> str:
    table = read_tuning(directory)
    rows = [
        [
            *(str(trial["values"][key]) for key in table["keys"]),
            trial["state"],
            str(trial["epochs"]),
            "" if trial["loss"] is None else f"{trial['loss']:.3f}",
            *(percent(trial["scores"][name]) if trial["scores"] else "" for name in COLUMNS),
        ]
        for trial in table["trials"]
    ]
    head = [*(f"`{key}`" for key in table["keys"]), "state", "epochs", "validation loss", *COLUMNS]
    return f"## Trials\n\n{markdown_table(head, rows)}"


def _images(predictions: Sequence[Prediction], folder: Path) -> str:
    lines = ["## Images", "", "A quarter the worst by CIDEr-D, a quarter the best, the rest evenly chosen."]
    for number, prediction in enumerate(predictions, 1):
        name = f"{number:02d}.jpg"
        try:
            image = Image.fromarray(load_image(prediction.image))
        except ImageError:
            shown = "(image not found)"
        else:
            image.thumbnail((IMAGE_PX, IMAGE_PX), Image.Resampling.LANCZOS)
            image.save(folder / name, "JPEG", quality=80)
            shown = f'<img src="{name}" alt="{_escape(prediction.candidate)}">'
        score = 100 * prediction.scores.get("CIDEr-D", 0.0)
        lines += ["", shown, "", f"**{_escape(prediction.candidate)}** (CIDEr-D {score:.0f})", ""]
        lines += [f"- {_escape(reference)}" for reference in prediction.references]
    return "\n".join(lines)


def _escape(text: str) -> str:
    """Return a caption as text that Markdown and HTML leave as it is."""
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(sign, entity)
    return " ".join("".join("\\" + sign if sign in "\\`*_[]|" else sign for sign in text).split())
