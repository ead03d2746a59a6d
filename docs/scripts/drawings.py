"""Draw docs/images/layers-*.svg (the packages and their order) and docs/images/pipeline-*.svg (an image's path).

python docs/scripts/drawings.py
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import svg

ROOT = Path(__file__).resolve().parent.parent.parent
LABELS = {
    "cli": "command line",
    "experiments": "comparisons, demo",
    "training": "training and output",
    "inference": "captioning images",
    "checkpoints": "saved models",
    "decoders": "caption networks",
    "data": "data, metrics, search",
    "encoders": "image networks",
    "kernels": "fast paths",
    "images": "images and text",
    "config": "settings",
    "system": "files, devices",
    "errors": "errors",
}
STAGES = (
    ("image file", "JPEG, PNG, WebP, …", "images/load.py"),
    ("preprocess", "decode, resize, normalize", "images/preprocess.py"),
    ("encoder", "frozen ResNet-50: regions [P, R, D]", "encoders/"),
    ("decoder", "init_state, step: logits, attention", "decoders/"),
    ("beam search", "K hypotheses per image", "generation/"),
    ("tokenizer", "ids to words", "tokenizer.py"),
    ("caption", "text, score, attention", "inference/captioner.py"),
)
TRAINING = (
    ("captioned set", "COCO, Flickr, CSV, folder, …", "data/sources/"),
    ("prepare", "validate, split, Arrow", "data/prepared.py"),
    ("features", "encoder run once, float16 on disk", "data/features.py"),
    ("train", "cross-entropy, then rewards", "training/trainer.py"),
    ("evaluate", "BLEU, ROUGE-L, CIDEr-D", "metrics/"),
    ("checkpoint", "safetensors, JSON, model card", "checkpoints/"),
)


def layers() -> list[list[str]]:
    """Return the packages of each row from the contract that import-linter checks, top row first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    rows = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    return [[name.strip().removeprefix("showtell.") for name in re.split("[|:]", row)] for row in rows]


def draw_layers(colors: svg.Colors) -> str:
    """Return the packages, top to bottom, each importing only from those below it."""
    title = "Packages of showtell"
    parts = [
        svg.text(12, 26, title, colors["text"], size=17, weight=600),
        svg.text(12, 46, "A package imports only from the rows below its own.", colors["muted"], size=12.5),
    ]
    y, left, width = 60, 170, 560
    rows = layers()
    for number, packages in enumerate(rows):
        label = LABELS.get(packages[0], "")
        parts.append(svg.text(left - 12, y + 20, label, colors["muted"], size=13, anchor="end"))
        gap = 10
        each = (width - gap * (len(packages) - 1)) / len(packages)
        for place, package in enumerate(packages):
            x = left + place * (each + gap)
            parts += [
                svg.box(x, y, each, 30, colors["box"], colors["blue"]),
                svg.text(x + each / 2, y + 20, package, colors["text"], anchor="middle", weight=600),
            ]
        if number < len(rows) - 1:
            parts.append(svg.arrow(left + width / 2, y + 31, left + width / 2, y + 43, colors["line"]))
        y += 45
    description = "From the top: " + "; ".join(", ".join(packages) for packages in rows)
    return svg.document(760, y + 4, title, description, colors, parts)


def draw_pipeline(colors: svg.Colors) -> str:
    """Return two columns: from an image to its caption, and from a captioned set to a checkpoint."""
    title = "From an image to its caption, and from a dataset to a checkpoint"
    parts: list[str] = []
    heights = [
        _column(parts, 12, "Captioning an image", STAGES, colors, "blue"),
        _column(parts, 400, "Training a captioner", TRAINING, colors, "teal"),
    ]
    description = "; ".join(f"{name}: {what} ({where})" for name, what, where in (*STAGES, *TRAINING))
    return svg.document(770, max(heights), title, description, colors, parts)


def _column(
    parts: list[str],
    x: float,
    title: str,
    stages: tuple[tuple[str, str, str], ...],
    colors: svg.Colors,
    color: str,
) -> int:
    parts.append(svg.text(x, 26, title, colors["text"], size=17, weight=600))
    y = 42
    for number, (name, what, where) in enumerate(stages):
        parts += [
            svg.box(x, y, 356, 48, colors["box"], colors[color]),
            svg.text(x + 12, y + 20, name, colors["text"], weight=600),
            svg.text(x + 344, y + 20, where, colors[color], size=12, anchor="end"),
            svg.text(x + 12, y + 38, what, colors["muted"], size=12.5),
        ]
        if number < len(stages) - 1:
            parts.append(svg.arrow(x + 178, y + 49, x + 178, y + 63, colors["line"]))
        y += 66
    return y


def files() -> dict[Path, str]:
    """Return the text of all drawings, by path."""
    return svg.outputs("layers", draw_layers) | svg.outputs("pipeline", draw_pipeline)


if __name__ == "__main__":
    svg.write(files())
