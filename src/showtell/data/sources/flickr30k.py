"""Flickr30k as published: ``results_20130124.token`` and the folder ``flickr30k-images``; no split.

1000092795.jpg#1<TAB>Two young , White males are outside near many bushes .
"""

from pathlib import Path

from showtell.data.sources.base import Problem, Source
from showtell.data.sources.files import FLICKR30K_FOLDERS, files_named, find_images
from showtell.data.sources.flickr8k import read_tokens
from showtell.data.sources.table import group_rows

LAYOUT = "a folder with results_20130124.token and flickr30k-images/, or the token file itself"
TOKENS = ("results_20130124.token", "results.token", "flickr30k/results_20130124.token")
MISSING = f"no {TOKENS[0]}"


def find(path: Path, *, forced: bool) -> list[Path]:
    return files_named(path, TOKENS, forced=forced)


def read(path: Path, files: list[Path]) -> Source:
    problems: list[Problem] = []
    rows = read_tokens(files[0], problems)
    return group_rows(rows, find_images(path, FLICKR30K_FOLDERS), problems)
