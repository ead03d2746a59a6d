"""Flickr30k as published: ``results_20130124.token`` and the folder ``flickr30k-images``; no split.

1000092795.jpg#0<TAB>Two young guys with shaggy hair look at their hands while hanging out in the yard .
"""

from __future__ import annotations

from pathlib import Path

from showtell.data.sources.base import Example, Problem, Source
from showtell.data.sources.flickr8k import read_tokens
from showtell.data.sources.image_index import FLICKR30K_FOLDERS, find_images
from showtell.errors import DataError

LOOKS = "a folder with results_20130124.token and flickr30k-images/, or the token file itself"
TOKENS = ("results_20130124.token", "results.token", "flickr30k/results_20130124.token")


def matches(path: Path) -> bool:
    """Tell whether this is the token file or a folder with it."""
    return _tokens(path) is not None


def read(path: Path) -> Source:
    """Read the set.

    Raises:
        DataError: the token file or the folder of photographs is missing.
    """
    tokens = path if path.is_file() else _tokens(path)
    if tokens is None:
        raise DataError(
            f"cannot read {path} as flickr30k", found=f"no {TOKENS[0]}", expected=LOOKS, mend="Check the path"
        )
    problems: list[Problem] = []
    captions = read_tokens(tokens, problems)
    pictures = find_images(tokens.parent if path.is_file() else path, FLICKR30K_FOLDERS)
    examples = [Example(name, pictures / name, tuple(texts)) for name, texts in captions.items()]
    return Source(examples, problems, "flickr30k")


def _tokens(path: Path) -> Path | None:
    if path.is_file():
        return path if path.name in TOKENS else None
    return next((path / name for name in TOKENS if (path / name).is_file()), None)
