"""A run as a small folder of Markdown, charts and images, to keep when its weights are not."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from PIL import ImageFont

from showtell.checkpoints.model_card import strip_recipe_paths
from showtell.config.yaml_text import parse_yaml
from showtell.errors import DataError
from showtell.report.charts import Chart
from showtell.report.comparison import read_tuning, trial_cells
from showtell.report.images import load_small
from showtell.report.run import Prediction, RunData, read_run, run_directory, select_examples
from showtell.report.templates import markdown_table, percent, render
from showtell.system.atomic import atomic_directory, read_manifest, write_manifest, write_text
from showtell.system.reading import foreign_values

KIND, FORMAT = "showtell summary", 1
IMAGE_PX = 224
CHARTS = ("loss", "bleu", "cider")
METRICS = ("BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr-D")


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
    with foreign_values(run):
        data = read_run(run)
    if not data.predictions:
        raise DataError(
            f"{run} cannot be summarized", found="no predictions", mend="Let showtell train finish"
        )
    if out.exists() and any(out.iterdir()):
        read_manifest(out, KIND, FORMAT)
    with atomic_directory(out) as folder, foreign_values(run):
        charts = dict(zip(CHARTS, data.score_charts, strict=False))
        for name, chart in charts.items():
            _write_chart(folder / name, chart)
        examples = select_examples(data.predictions, most=num_images, metric="CIDEr-D")
        text = render(
            "summary.md",
            title=title or run.resolve().name,
            run=data,
            charts=charts,
            epochs=_epoch_table(data),
            trials="" if tuning is None else _trial_table(read_tuning(tuning)),
            images=[(_write_image(folder, number, one), one) for number, one in enumerate(examples, 1)],
        )
        write_text(folder / "README.md", f"{text}\n")
        recipe = strip_recipe_paths(parse_yaml(data.recipe))
        write_text(folder / "recipe.yaml", yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True))
        write_manifest(folder, KIND, FORMAT, {"signature": data.signature})
    return out / "README.md"


def _write_chart(path: Path, chart: Chart) -> None:
    """Write a chart as SVG, and as PNG at twice its size with Pillow's font: the same image on every machine."""
    import resvg_py

    svg = str(chart.svg(standalone=True))
    write_text(path.with_suffix(".svg"), svg)
    font = ImageFont.load_default(12)
    assert isinstance(font, ImageFont.FreeTypeFont)
    with tempfile.NamedTemporaryFile(suffix=".ttf") as file:
        file.write(font.font_bytes)
        file.flush()
        png = resvg_py.svg_to_bytes(
            svg_string=svg.replace("×", "x"),  # That font has no multiplication sign.
            zoom=2,
            skip_system_fonts=True,
            font_files=[file.name],
            sans_serif_family=font.getname()[0],
        )
    path.with_suffix(".png").write_bytes(bytes(png))


def _write_image(folder: Path, number: int, prediction: Prediction) -> str:
    """Return the name of the written image, empty if it cannot be read."""
    image = load_small(prediction.image, IMAGE_PX)
    if image is None:
        return ""
    image.save(folder / f"{number:02d}.jpg", "JPEG", quality=80)
    return f"{number:02d}.jpg"


def _epoch_table(data: RunData) -> str:
    """Return losses and scores by epoch; the best epoch is bold."""
    trained = {row["epoch"]: row for row in data.rows if row.get("event") == "epoch"}
    rows = []
    for row in data.rows:
        if row.get("event") != "validation":
            continue
        is_best = all(row[name] == value for name, value in data.scores.items())
        epoch = f"**{row['epoch']}**" if is_best else str(row["epoch"])
        training = trained.get(row["epoch"], {})
        loss = f"{training['loss']:.3f}" if "loss" in training else ""
        rows.append([epoch, loss, f"{row['loss']:.3f}", *(percent(row[name]) for name in METRICS)])
    return markdown_table(["epoch", "training loss", "validation loss", *METRICS], rows)


def _trial_table(table: Mapping[str, Any]) -> str:
    head = [*(f"`{key}`" for key in table["keys"]), "state", "epochs", "validation loss", *METRICS]
    return markdown_table(head, [trial_cells(trial, METRICS, missing="") for trial in table["trials"]])
