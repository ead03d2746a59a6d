"""How well cached features predict the words that people use: a linear map, fitted in closed form.

    python -m benchmarks.feature_probe --data data/flickr8k data/flickr8k-features/resnet50-*

Kernel ridge regression from an image's pooled vector (of length 1) to the share of its captions that name each
common word. It takes seconds where a training takes an hour, and says whether other features are worth that hour.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from showtell.data.feature_cache import FORMAT, KIND, FeatureCache, read_bitmap
from showtell.data.prepared import PreparedSet
from showtell.errors import DataError
from showtell.metrics.ptb_tokenizer import tokenize
from showtell.system.atomic import read_manifest
from showtell.system.console import text_table

Floats = npt.NDArray[np.float32]

MIN_IMAGES = 30
MOST_WORDS = 600
NAMED_BY = 0.35
"""The share of an image's captions that must name a word for it to count as there."""

COLORS = frozenset(
    ["black", "white", "red", "blue", "brown", "green", "yellow", "pink", "orange", "purple", "gray", "grey"]
)
_FUNCTION_WORDS = """
a an the is are in on of with and at to his her their it as by from up for its that into one while this
has some he she they him them be there or who 's
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
RIDGES = (1.0, 2.0, 4.0, 8.0)
"""Added to the kernel, whose diagonal is about 1; the best of them on the evaluated photographs is reported."""


def main(arguments: list[str] | None = None) -> None:
    """Print a table: for each cache, and for the mean of the kernels of those joined by ``+``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("caches", nargs="+", help="a feature cache, or several joined by +")
    parser.add_argument("--data", type=Path, required=True, help="the prepared set")
    options = parser.parse_args(arguments)
    prepared = PreparedSet.load(options.data)
    train, dev = prepared.split_rows("train"), prepared.split_rows("dev")
    words, named = count_words(prepared, train, np.concatenate((train, dev)))
    rows = [["features", "R2", "mAP", "mAP of colors"]]
    for names in options.caches:
        kernels = [pooled_kernel(Path(name), train, dev) for name in names.split("+")]
        explained, precision, colors = evaluate(np.mean(kernels, axis=0), named, len(train), words)
        rows.append([names, f"{100 * explained:.2f}", f"{100 * precision:.2f}", f"{100 * colors:.2f}"])
    print(text_table(rows, left=1))


def count_words(
    prepared: PreparedSet, train: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> tuple[list[str], Floats]:
    """Return the content words [W] of enough training images, and the share of captions that name each [N, W]."""
    tokens_of_captions = [[set(tokens) for tokens in tokenize(prepared.captions(int(row)))] for row in rows]
    images = Counter(word for captions in tokens_of_captions[: len(train)] for word in set().union(*captions))
    frequent = [word for word, count in images.most_common() if count >= MIN_IMAGES]
    words = [word for word in frequent if word not in FUNCTION_WORDS][:MOST_WORDS]
    place = {word: number for number, word in enumerate(words)}
    named = np.zeros((len(rows), len(words)), np.float32)
    for row, captions in zip(named, tokens_of_captions, strict=True):
        for caption in captions:
            for word in caption & place.keys():
                row[place[word]] += 1 / len(captions)
    return words, named


def pooled_kernel(cache: Path, train: npt.NDArray[np.int64], dev: npt.NDArray[np.int64]) -> Floats:
    """Return the kernel [N, N] of the pooled vectors of length 1, less their mean, of mean diagonal 1 in training."""
    manifest = read_manifest(cache, KIND, FORMAT)
    rows = np.concatenate((train, dev))
    kept = FeatureCache(cache, manifest, read_bitmap(cache, manifest))
    if not kept.done[rows].all():
        raise DataError(
            f"{cache} cannot be evaluated", found="images without features", expected="both splits"
        )
    vectors = kept.pooled[rows].astype(np.float32)  # [N, D]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors -= vectors[: len(train)].mean(axis=0)
    kernel = vectors @ vectors.T
    scaled: Floats = kernel / np.trace(kernel[: len(train), : len(train)]) * len(train)
    return scaled


def evaluate(kernel: Floats, named: Floats, count: int, words: list[str]) -> tuple[float, float, float]:
    """Return explained variance, and mean average precision of words and of colors, on rows after ``count``."""
    fitted, mean = named[:count], named[:count].mean(axis=0)
    targets = named[count:]
    colors = [number for number, word in enumerate(words) if word in COLORS]
    found = []
    for ridge in RIDGES:
        weights = np.linalg.solve(
            kernel[:count, :count] + ridge * np.eye(count, dtype=np.float32), fitted - mean
        )
        guessed = kernel[count:, :count] @ weights + mean  # [M, W]
        explained = 1 - ((guessed - targets) ** 2).sum() / ((targets - mean) ** 2).sum()
        each = average_precision(guessed, targets >= NAMED_BY)
        found.append((float(explained), float(np.nanmean(each)), float(np.nanmean(each[colors]))))
    return max(found)


def average_precision(scores: Floats, there: npt.NDArray[np.bool_]) -> Floats:
    """Return the average precision of each word [W] over images ranked by score [M, W]; NaN if never there."""
    order = np.argsort(-scores, axis=0)
    hits = np.take_along_axis(there, order, axis=0)
    precision = hits.cumsum(axis=0) / np.arange(1, len(hits) + 1)[:, None]
    with np.errstate(invalid="ignore"):
        mean: Floats = (precision * hits).sum(axis=0) / hits.sum(axis=0)
    return mean


if __name__ == "__main__":
    main()
