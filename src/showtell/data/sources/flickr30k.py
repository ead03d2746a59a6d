"""Flickr30k as published: ``results_20130124.token`` and the folder ``flickr30k-images``; no split.

1000092795.jpg#1<TAB>Two young , White males are outside near many bushes .
"""

from pathlib import Path

from showtell.data.sources.base import Example, Problem, Source, not_a
from showtell.data.sources.flickr8k import read_tokens
from showtell.data.sources.image_index import FLICKR30K_FOLDERS, find_images

LAYOUT = "a folder with results_20130124.token and flickr30k-images/, or the token file itself"
TOKENS = ("results_20130124.token", "results.token", "flickr30k/results_20130124.token")


def matches(path: Path) -> bool:
    """Return whether this is the token file or a folder with it."""
    return _tokens(path) is not None


def read(path: Path) -> Source:
    """Read the dataset."""
    tokens = path if path.is_file() else _tokens(path)
    if tokens is None:
        raise not_a("flickr30k", path, f"no {TOKENS[0]}", LAYOUT)
    problems: list[Problem] = []
    captions = read_tokens(tokens, problems)
    images = find_images(tokens.parent if path.is_file() else path, FLICKR30K_FOLDERS)
    examples = [Example(name, images / name, tuple(texts)) for name, texts in captions.items()]
    return Source(examples, problems, "flickr30k")


def _tokens(path: Path) -> Path | None:
    if path.is_file():
        return path if path.name in TOKENS else None
    return next((path / name for name in TOKENS if (path / name).is_file()), None)
