"""Rooms, meals and cats of COCO as corrections and as a set to measure on: for `docs/experiments.md`, "Corrections".

python -m benchmarks.corrections path/to/coco -o sets
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path

NAMED_BY = 3
"""An image is of the kind if so many of its captions name it."""
KIND = re.compile(
    r"\b(kitchens?|bathrooms?|bedrooms?|living room|room|couch|sofa|bed|table|desk|sink|toilet|mirror|stove|oven|"
    r"refrigerator|computer|laptop|tv|television|food|meal|dish|plate|bowl|pizza|sandwich|cake|donuts?|fruit|"
    r"bananas?|vegetables|broccoli|cats?|kitten)\b"
)


def make_sets(source: Path, out: Path) -> None:
    """Write the kind's training images with one caption each, as the page does, and with five, and the others."""
    _write(source, "train", out / "corrections", split=None, captions=1)
    _write(source, "train", out / "corrections-5", split=None, captions=5)
    _write(source, "val", out / "kind", split="test", captions=5)


def _write(source: Path, name: str, folder: Path, *, split: str | None, captions: int) -> None:
    annotations = json.loads(
        (source / "annotations" / f"captions_{name}2017.json").read_text(encoding="utf-8")
    )
    texts: dict[int, list[str]] = {}
    for row in annotations["annotations"]:
        texts.setdefault(row["image_id"], []).append(" ".join(row["caption"].split()))
    (folder / "images").mkdir(parents=True)
    lines = []
    for image in annotations["images"]:
        found, file = texts.get(image["id"], []), image["file_name"]
        if sum(KIND.search(text.lower()) is not None for text in found) >= NAMED_BY:
            shutil.copy(source / f"{name}2017" / file, folder / "images")
            row = {"file_name": f"images/{file}", "text": found[:captions]}
            lines.append(json.dumps(row | ({"split": split} if split else {})) + "\n")
    (folder / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="COCO: annotations/, train2017/, val2017/")
    parser.add_argument("-o", "--out", type=Path, required=True, help="a new folder")
    options = parser.parse_args()
    make_sets(options.source, options.out)
