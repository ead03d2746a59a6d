"""Captioned sets at toy size, in the very form in which they are published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

TRAINED, JUDGED = 12, 4
WORDS = {"colour": ("red", "green", "blue"), "thing": ("dog", "ball", "boat"), "side": ("left", "right")}


def draw(number: int) -> Image.Image:
    """Return a picture of 48 x 40 pixels; no two are the same."""
    pixels = np.random.default_rng(number).integers(0, 60, (40, 48, 3), dtype=np.uint8)
    pixels[:, :, number % 3] += 150
    return Image.fromarray(pixels)


def captions_of(number: int) -> list[str]:
    """Return five captions as people write them: capitals, full stops, spaces at the end."""
    colour, thing, side = (words[number % len(words)] for words in WORDS.values())
    return [
        f"A {colour} {thing} is on the {side}.",
        f"The {thing}, {colour}, is on the {side} ",
        f"There is a {colour} {thing} on the {side} of the picture .",
        f"a {thing} on the {side}",
        f"One {colour} {thing} is there.",
    ]


def write_coco(folder: Path) -> Path:
    """Write ``annotations/captions_*2017.json`` beside ``train2017/`` and ``val2017/``."""
    (folder / "annotations").mkdir(parents=True)
    for name, first, count in (("train2017", 0, TRAINED), ("val2017", 100, JUDGED)):
        (folder / name).mkdir()
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number in range(first, first + count):
            file = f"{number:012d}.jpg"
            draw(number).save(folder / name / file, quality=90)
            images.append(
                {
                    "license": 3,
                    "file_name": file,
                    "coco_url": f"http://images.cocodataset.org/{name}/{file}",
                    "height": 40,
                    "width": 48,
                    "date_captured": "2013-11-14 17:02:52",
                    "flickr_url": f"http://farm7.staticflickr.com/6116/{number}_z.jpg",
                    "id": number,
                }
            )
            annotations += [
                {"image_id": number, "id": 10 * number + place, "caption": caption}
                for place, caption in enumerate(captions_of(number))
            ]
        about = {
            "description": "COCO 2017 Dataset",
            "url": "http://cocodataset.org",
            "version": "1.0",
            "year": 2017,
            "contributor": "COCO Consortium",
            "date_created": "2017/09/01",
        }
        licenses = [{"url": "http://creativecommons.org/licenses/by-nc/2.0/", "id": 2, "name": "Attribution"}]
        content = {"info": about, "licenses": licenses, "images": images, "annotations": annotations}
        (folder / "annotations" / f"captions_{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def write_flickr30k(folder: Path) -> Path:
    """Save to disk a dataset with the columns of ``nlphuji/flickr30k``, all rows in its one split "test"."""
    datasets = pytest.importorskip("datasets")
    text = datasets.Value("string")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "caption": datasets.Sequence(text),
            "sentids": datasets.Sequence(text),
            "split": text,
            "img_id": text,
            "filename": text,
        }
    )
    numbers = range(TRAINED + JUDGED)
    columns = {
        "image": [draw(number) for number in numbers],
        "caption": [captions_of(number) for number in numbers],
        "sentids": [[str(5 * number + place) for place in range(5)] for number in numbers],
        "split": ["test" if number % 8 == 7 else "val" if number % 8 == 3 else "train" for number in numbers],
        "img_id": [str(number) for number in numbers],
        "filename": [f"{1000092795 + number}.jpg" for number in numbers],
    }
    rows = datasets.Dataset.from_dict(columns, features=features)
    datasets.DatasetDict({"test": rows}).save_to_disk(folder)
    return folder


def write_flickr8k(folder: Path) -> Path:
    """Write ``Flickr8k.token.txt``, the split lists and ``Flicker8k_Dataset/``."""
    pictures = folder / "Flicker8k_Dataset"
    pictures.mkdir(parents=True)
    names = {number: f"{1000268201 + number}_693b08cb0e.jpg" for number in range(TRAINED + JUDGED)}
    lines = []
    for number, name in names.items():
        draw(number).save(pictures / name, quality=90)
        lines += [f"{name}#{place}\t{caption}" for place, caption in enumerate(captions_of(number))]
    (folder / "Flickr8k.token.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    listed = list(names.values())
    for split, part in (
        ("train", listed[:TRAINED]),
        ("dev", listed[TRAINED : TRAINED + 2]),
        ("test", listed[TRAINED + 2 :]),
    ):
        (folder / f"Flickr_8k.{split}Images.txt").write_text("\n".join(part) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Write a set as it is published, once: ``coco``, ``flickr30k`` or ``flickr8k``."""
    writers = {"coco": write_coco, "flickr30k": write_flickr30k, "flickr8k": write_flickr8k}
    written: dict[str, Path] = {}

    def write(name: str) -> Path:
        if name not in written:
            written[name] = writers[name](tmp_path_factory.mktemp("published") / name)
        return written[name]

    return write


@pytest.fixture(scope="session")
def photograph() -> Callable[[int], Image.Image]:
    """Draw a picture of a number."""
    return draw
