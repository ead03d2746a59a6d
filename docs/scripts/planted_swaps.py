"""Print how many swapped captions ``showtell inspect --captioner`` finds, for docs/data.md.

python docs/scripts/planted_swaps.py data/flickr8k models/flickr8k [ENCODER_WEIGHTS [FEATURES]]

In the dev split, the captions of 1 % of the images, and 1 % of the captions of the others, get another image each.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from showtell.data.prepared import PreparedSet
from showtell.inspection.captioner import MAX_IMAGE_MARGIN, MAX_MARGIN, encode

SPLIT, FRACTION, SEED = "dev", 0.01, 0

Flags = npt.NDArray[np.bool_]


def plant(texts: list[list[str]]) -> tuple[Flags, list[Flags]]:
    """Swap captions in place; return which images and which captions have been swapped."""
    generator = np.random.default_rng(SEED)
    images = generator.choice(len(texts), round(FRACTION * len(texts)), replace=False)
    moved = [texts[image] for image in np.roll(images, 1)]
    for image, captions in zip(images, moved, strict=True):
        texts[image] = captions
    swapped = np.isin(np.arange(len(texts)), images)
    others = np.flatnonzero(~swapped)
    count = round(FRACTION * sum(map(len, texts)))
    chosen = [
        (int(image), int(generator.integers(len(texts[image]))))
        for image in generator.choice(others, count, replace=False)
    ]
    flags = [np.zeros(len(captions), np.bool_) for captions in texts]
    single = [texts[image][number] for image, number in chosen[-1:] + chosen[:-1]]
    for (image, number), text in zip(chosen, single, strict=True):
        texts[image][number], flags[image][number] = text, True
    return swapped, flags


def main(data: str, captioner: str, *places: str) -> None:
    """Print precision and recall of both kinds, and those of captions at other limits."""
    prepared = PreparedSet.load(data)
    texts = [prepared.captions(int(row)) for row in prepared.split_rows(SPLIT)]
    swapped, flags = plant(texts)
    options = dict(zip(("encoder_weights", "features"), map(Path, places), strict=False))
    margins = encode(prepared, captioner, split=SPLIT, texts=texts, **options).margins
    means = np.array([margin.mean() for margin in margins])
    found = means <= MAX_IMAGE_MARGIN
    print(f"mismatched-image: {_rates(found, swapped)}")
    alone = [place for place in range(len(texts)) if not swapped[place]]
    margin, planted = (np.concatenate([values[place] for place in alone]) for values in (margins, flags))
    print(f"mismatch: {_rates(margin <= MAX_MARGIN, planted)}")
    for limit in (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0):
        print(f"  at a margin of {limit:g} nats: {_rates(margin <= limit, planted)}")


def _rates(found: Flags, planted: Flags) -> str:
    right = int((found & planted).sum())
    return (
        f"{found.sum()} found, {right} of {planted.sum()} planted: precision {right / max(1, found.sum()):.2f}, "
        f"recall {right / planted.sum():.2f}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
