"""Small sets made of Flickr8k, as a folder of one's own images would be: for `docs/experiments.md`, "Small sets".

python -m benchmarks.small_sets path/to/flickr8k -o sets
"""

from __future__ import annotations

import argparse
import csv
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from showtell.data.prepared import PreparedSet, prepare

EVALUATED, REHEARSED = 500, 150
FROM_DEV, FROM_TRAIN = (20, 150), 1000


def make_sets(source: Path, out: Path) -> None:
    """Write folders of 20 and 150 development and 1,000 training images, and tables of others."""
    prepared = prepare(source, out / "flickr8k")
    dev, train = (sorted(prepared.split_rows(split).tolist(), key=prepared.key) for split in ("dev", "train"))
    for rows in (dev, train):
        random.Random(0).shuffle(rows)
    _write_table(prepared, dev[:EVALUATED], out / "eval.csv", "dev")
    _write_table(prepared, train[FROM_TRAIN : FROM_TRAIN + REHEARSED], out / "rehearse.csv", "train")
    for size in FROM_DEV:
        _write_folder(prepared, dev[EVALUATED : EVALUATED + size], out / f"own{size}")
    _write_folder(prepared, train[:FROM_TRAIN], out / f"own{FROM_TRAIN}")


def _write_folder(prepared: PreparedSet, rows: Sequence[int], folder: Path) -> None:
    folder.mkdir()
    for row in rows:
        image = prepared.image_path(row)
        shutil.copy(image, folder / image.name)
        text = "\n".join(prepared.captions(row)) + "\n"
        (folder / image.name).with_suffix(".txt").write_text(text, encoding="utf-8")


def _write_table(prepared: PreparedSet, rows: Sequence[int], path: Path, split: str) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption", "split"])
        for row in rows:
            image = str(prepared.image_path(row).resolve())
            writer.writerows([image, caption, split] for caption in prepared.captions(row))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="the folder of Flickr8k")
    parser.add_argument("-o", "--out", type=Path, required=True, help="a new folder")
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    make_sets(options.source, options.out)
